//! The configured models by alias, built at the start and again when the configuration is read again.
//!
//! Refuses to know: agents, and what is done with prices. Invariants: the alias `offline` is always there and always the model inside
//! this program; a model that cannot be asked for lack of a key is there too and says so when it is asked, because
//! a missing key must not stop a start.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::domain::fault::Fault;
use crate::domain::money::Price;
use crate::domain::name::ModelAlias;
use crate::domain::time::UtcMillis;

use super::cassette::redact::Redactor;
use super::client::{Connections, RemoteModel};
use super::config::{ModelConfig, Provider, Secret};
use super::gate::shared::Gate;
use super::gate::state::GateView;
use super::model::{Model, ModelDescription};
use super::offline::OfflineModel;

/// The alias of the model inside this program.
pub const OFFLINE_ALIAS: &str = "offline";

/// Tokens of a conversation that a model is taken to hold when nobody says.
pub const CONTEXT_TOKENS_DEFAULT: u64 = 128_000;

/// Why the models cannot be built, or one of them not be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Nobody configured this alias.
    #[error("there is no model `{alias}`; known are {known}")]
    Unknown {
        /// What was asked for.
        alias: ModelAlias,
        /// The aliases that exist.
        known: String,
    },
    /// Two models of one name.
    #[error("the model alias `{alias}` is used twice")]
    Twice {
        /// Which.
        alias: ModelAlias,
    },
    /// The built-in alias for another provider.
    #[error("the model alias `offline` belongs to the built-in model; found provider `{provider}`")]
    Reserved {
        /// The other provider.
        provider: &'static str,
    },
    /// A model that is to be asked instead of another and does not exist.
    #[error("model `{alias}`: there is no model `{missing}` to fall back on")]
    Fallback {
        /// Whose.
        alias: ModelAlias,
        /// The one that is missing.
        missing: ModelAlias,
    },
    /// An address that no request can be sent to.
    #[error(
        "model `{alias}`: `{found}` is not an address of the form http(s)://host[:port][/path] without user or query"
    )]
    Address {
        /// Whose.
        alias: ModelAlias,
        /// The address, as far as it may be shown.
        found: String,
    },
}

impl RegistryError {
    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unknown { .. } => Fault::NotFound,
            Self::Twice { .. } => Fault::Conflict,
            Self::Reserved { .. } | Self::Fallback { .. } | Self::Address { .. } => Fault::Invalid,
        }
    }
}

/// The models of this process. Cheap to clone; replaced as a whole when the configuration changes.
#[derive(Clone)]
pub struct Models(Arc<ArcSwap<Built>>);

#[derive(Clone, Default)]
struct Built {
    by_alias: BTreeMap<ModelAlias, Arc<dyn Model>>,
    prices: BTreeMap<ModelAlias, Price>,
    /// The gates of those that are asked over a network; models with the same provider, name and key share one.
    gates: BTreeMap<ModelAlias, Gate>,
    gates_by_key: BTreeMap<GateKey, Gate>,
    fallbacks: BTreeMap<ModelAlias, Vec<ModelAlias>>,
    redactor: Redactor,
    context_tokens: BTreeMap<ModelAlias, u64>,
    connections: Option<Connections>,
}

/// What a provider counts together: address, its name of the model, and the key.
type GateKey = (Provider, String, Arc<str>, Option<[u8; 32]>);

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.load().by_alias.keys()).finish()
    }
}

impl Models {
    /// Builds all of them; opens no connection.
    pub fn build(configs: impl IntoIterator<Item = ModelConfig>) -> Result<Self, RegistryError> {
        Self::built(configs, &Built::default())
    }

    /// Builds models that can take the place of these. A model that the provider counts as the same keeps its gate,
    /// with what is known of its limits and failures, and open connections are used again.
    pub fn build_next(&self, configs: impl IntoIterator<Item = ModelConfig>) -> Result<Self, RegistryError> {
        Self::built(configs, &self.0.load())
    }

    /// Puts others in the place of these, for everybody who holds a clone. Requests under way go on as they began.
    pub fn replace(&self, next: &Self) {
        self.0.store(next.0.load_full());
    }

    fn built(configs: impl IntoIterator<Item = ModelConfig>, before: &Built) -> Result<Self, RegistryError> {
        let mut by_alias: BTreeMap<ModelAlias, Arc<dyn Model>> = BTreeMap::new();
        let mut by_key: BTreeMap<GateKey, Gate> = BTreeMap::new();
        let mut gates = BTreeMap::new();
        let mut prices = BTreeMap::new();
        let mut fallbacks: BTreeMap<ModelAlias, Vec<ModelAlias>> = BTreeMap::new();
        let connections = before.connections.clone().unwrap_or_default();
        let mut secrets: Vec<Secret> = Vec::new();
        let mut context_tokens = BTreeMap::new();
        for config in configs {
            context_tokens.extend(config.context_tokens.map(|tokens| (config.alias.clone(), tokens)));
            secrets.extend(config.api_key.clone());
            let alias = config.alias.clone();
            prices.extend(config.price.map(|price| (alias.clone(), price)));
            if !config.fallback.is_empty() {
                fallbacks.insert(alias.clone(), config.fallback.clone());
            }
            if config.provider != Provider::Offline {
                let key = gate_key(&config);
                let kept = before.gates_by_key.get(&key).cloned();
                let gate = by_key.entry(key).or_insert_with(|| kept.unwrap_or_default());
                gates.insert(alias.clone(), gate.clone());
            }
            if alias.as_str() == OFFLINE_ALIAS && config.provider != Provider::Offline {
                return Err(RegistryError::Reserved {
                    provider: config.provider.as_str(),
                });
            }
            let model: Arc<dyn Model> = match config.provider {
                Provider::Offline => Arc::new(OfflineModel::new(alias.clone())),
                Provider::OpenAiChat | Provider::OpenAiResponses | Provider::Anthropic => {
                    check_address(&config)?;
                    Arc::new(RemoteModel::new(config, connections.clone()))
                }
            };
            if by_alias.insert(alias.clone(), model).is_some() {
                return Err(RegistryError::Twice { alias });
            }
        }
        let built = Built {
            redactor: Redactor::new(secrets.iter().map(Secret::expose)),
            context_tokens,
            prices,
            gates,
            gates_by_key: by_key,
            fallbacks,
            connections: Some(connections),
            by_alias: with_offline(by_alias),
        };
        for (alias, others) in &built.fallbacks {
            if let Some(missing) = others.iter().find(|other| !built.by_alias.contains_key(other)) {
                return Err(RegistryError::Fallback {
                    alias: alias.clone(),
                    missing: missing.clone(),
                });
            }
        }
        Ok(Self::holding(built))
    }

    /// Takes models made elsewhere (scripted ones in tests); `offline` is added when it is not among them.
    pub fn of(by_alias: BTreeMap<ModelAlias, Arc<dyn Model>>) -> Self {
        Self::holding(Built {
            by_alias: with_offline(by_alias),
            ..Built::default()
        })
    }

    fn holding(built: Built) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(built)))
    }

    /// Tokens of a conversation that a model holds, as configured.
    pub fn context_tokens(&self, alias: &ModelAlias) -> u64 {
        let known = self.0.load().context_tokens.get(alias).copied();
        known.unwrap_or(CONTEXT_TOKENS_DEFAULT)
    }

    /// Whether an alias is a model inside this program.
    pub fn is_offline(&self, alias: &ModelAlias) -> bool {
        let built = self.0.load();
        let model = built.by_alias.get(alias);
        model.is_some_and(|model| model.describe().provider == Provider::Offline.as_str())
    }

    /// Takes the keys of all models, and what looks like a key, out of texts.
    pub fn redactor(&self) -> Redactor {
        self.0.load().redactor.clone()
    }

    /// The same with these gates and fallbacks, for models made elsewhere.
    #[must_use]
    pub fn with(self, gates: BTreeMap<ModelAlias, Gate>, fallbacks: BTreeMap<ModelAlias, Vec<ModelAlias>>) -> Self {
        Self::holding(Built {
            gates,
            fallbacks,
            ..Built::clone(&self.0.load())
        })
    }

    /// What a model charges; nothing when it has no price.
    pub fn price(&self, alias: &ModelAlias) -> Price {
        self.0.load().prices.get(alias).copied().unwrap_or_default()
    }

    /// The gate of a model; none for one that is asked over no network.
    pub fn gate(&self, alias: &ModelAlias) -> Option<Gate> {
        self.0.load().gates.get(alias).cloned()
    }

    /// Who is asked when this model cannot be had, in order, each once.
    pub fn fallback(&self, alias: &ModelAlias) -> Vec<ModelAlias> {
        let mut chain = Vec::new();
        for other in self.0.load().fallbacks.get(alias).into_iter().flatten() {
            if other != alias && !chain.contains(other) {
                chain.push(other.clone());
            }
        }
        chain
    }

    /// How the gates stand, by alias.
    pub fn gates(&self, now: UtcMillis) -> BTreeMap<ModelAlias, GateView> {
        let built = self.0.load();
        let views = built.gates.iter().map(|(alias, gate)| (alias.clone(), gate.view(now)));
        views.collect()
    }

    /// The names of all models.
    pub fn aliases(&self) -> Vec<ModelAlias> {
        self.0.load().by_alias.keys().cloned().collect()
    }

    /// The model of an alias.
    pub fn get(&self, alias: &ModelAlias) -> Result<Arc<dyn Model>, RegistryError> {
        let built = self.0.load();
        built
            .by_alias
            .get(alias)
            .cloned()
            .ok_or_else(|| RegistryError::Unknown {
                alias: alias.clone(),
                known: built
                    .by_alias
                    .keys()
                    .map(ModelAlias::as_str)
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// All of them, by alias.
    pub fn describe(&self) -> Vec<ModelDescription> {
        self.0.load().by_alias.values().map(|model| model.describe()).collect()
    }
}

fn with_offline(mut by_alias: BTreeMap<ModelAlias, Arc<dyn Model>>) -> BTreeMap<ModelAlias, Arc<dyn Model>> {
    let alias = ModelAlias::new(OFFLINE_ALIAS).expect("the built-in alias is a valid name");
    by_alias
        .entry(alias.clone())
        .or_insert_with(|| Arc::new(OfflineModel::new(alias)));
    by_alias
}

fn gate_key(config: &ModelConfig) -> GateKey {
    let key = config.api_key.as_ref();
    (
        config.provider,
        config.url().unwrap_or("").to_owned(),
        config.id.clone(),
        key.map(|key| *blake3::hash(key.expose().as_bytes()).as_bytes()),
    )
}

/// The address comes from a file that a person wrote; a wrong one is better refused at start than at the first
/// request. User and password do not belong there: they would show up in lists.
fn check_address(config: &ModelConfig) -> Result<(), RegistryError> {
    let url = config.url().unwrap_or("");
    let good = reqwest::Url::parse(url).is_ok_and(|parsed| {
        matches!(parsed.scheme(), "http" | "https")
            && parsed.has_host()
            && parsed.username().is_empty()
            && parsed.password().is_none()
            && parsed.query().is_none()
            && parsed.fragment().is_none()
    });
    if good {
        return Ok(());
    }
    let shown = url.rsplit('@').next().unwrap_or("");
    Err(RegistryError::Address {
        alias: config.alias.clone(),
        found: shown.split(['?', '#']).next().unwrap_or("").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(text: &str) -> ModelAlias {
        ModelAlias::new(text).expect("valid")
    }

    #[test]
    fn the_offline_model_is_always_there() {
        let models = Models::build([]).expect("built");
        let model = models.get(&alias("offline")).expect("built in");
        assert_eq!(model.describe().provider, "offline");
        let error = models.get(&alias("claude")).err().expect("unknown");
        assert_eq!(error.to_string(), "there is no model `claude`; known are offline");
        assert_eq!(error.fault(), Fault::NotFound);
    }

    #[test]
    fn models_that_the_provider_counts_together_share_a_gate() {
        let config = |name: &str, id: &str, key: &str| {
            let mut config = ModelConfig::new(alias(name), Provider::OpenAiChat, id);
            config.base_url = Some("http://127.0.0.1:1/v1".into());
            config.api_key = super::super::config::Secret::new(key);
            config.fallback = vec![alias("offline"), alias("a"), alias("offline")];
            config
        };
        let configs = [
            config("a", "x", "k"),
            config("b", "x", "k"),
            config("c", "x", "other"),
            config("d", "y", "k"),
        ];
        let models = Models::build(configs).expect("built");
        let now = UtcMillis(1_000);
        let permit = models
            .gate(&alias("a"))
            .expect("a gate")
            .admit(1, false, now, || Box::new(|| ()));
        let asking = models
            .gates(now)
            .into_iter()
            .map(|(alias, view)| (alias.to_string(), view.asking));
        let expected = [("a", 1), ("b", 1), ("c", 0), ("d", 0)].map(|(alias, count)| (alias.to_owned(), count));
        assert_eq!(asking.collect::<Vec<_>>(), expected);
        drop(permit);
        assert!(models.gates(now).values().all(|view| view.asking == 0));
        assert!(models.gate(&alias("offline")).is_none());
        assert_eq!(models.fallback(&alias("a")), [alias("offline")]);
        assert_eq!(models.fallback(&alias("b")), [alias("offline"), alias("a")]);
        let mut lost = config("a", "x", "k");
        lost.fallback = vec![alias("nobody")];
        let error = Models::build([lost]).expect_err("refused").to_string();
        assert_eq!(error, "model `a`: there is no model `nobody` to fall back on");
    }

    #[test]
    fn models_that_take_the_place_of_others_keep_the_gates_of_those_that_stay_the_same() {
        let config = |name: &str, id: &str| {
            let mut config = ModelConfig::new(alias(name), Provider::OpenAiChat, id);
            config.base_url = Some("http://127.0.0.1:1/v1".into());
            config
        };
        let models = Models::build([config("a", "x"), config("b", "y")]).expect("built");
        let held = models.clone();
        let now = UtcMillis(1_000);
        let gate = models.gate(&alias("a")).expect("a gate");
        let permit = gate.admit(1, false, now, || Box::new(|| ()));
        let next = models.build_next([config("c", "x"), config("b", "z")]).expect("built");
        models.replace(&next);
        let asking = held.gates(now).into_iter();
        let asking: Vec<_> = asking.map(|(alias, view)| (alias.to_string(), view.asking)).collect();
        assert_eq!(asking, [("b".to_owned(), 0), ("c".to_owned(), 1)]);
        assert!(held.get(&alias("a")).is_err(), "it is configured no more");
        drop(permit);
    }

    #[test]
    fn wrong_configurations_are_refused_at_start() {
        let check = |name: &str, provider: Provider, url: Option<&str>, expected: &str| {
            let mut config = ModelConfig::new(alias(name), provider, "x");
            config.base_url = url.map(Into::into);
            let error = Models::build([config]).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("offline", Provider::OpenAiChat, None, "belongs to the built-in model");
        check(
            "m",
            Provider::OpenAiChat,
            Some("ftp://x"),
            "`ftp://x` is not an address",
        );
        check("m", Provider::OpenAiChat, Some("localhost:80"), "is not an address");
        check(
            "m",
            Provider::Anthropic,
            Some("http://u:pw@h/?k=v"),
            "`h/` is not an address",
        );
        let twice = [
            ModelConfig::new(alias("m"), Provider::Offline, "x"),
            ModelConfig::new(alias("m"), Provider::Offline, "x"),
        ];
        assert_eq!(
            Models::build(twice).expect_err("refused"),
            RegistryError::Twice { alias: alias("m") }
        );
    }
}
