//! Models as configured: plain settings under an alias. Asking them is the business of another layer.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::{BadValue, Place};
use super::key;
use super::kind;
use super::setting::Settings;
use crate::domain::money::Price;
use crate::domain::name::ModelAlias;
use crate::llm::config::{Provider, Timeouts};

/// One model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSettings {
    /// The name under which agents ask for it.
    pub alias: ModelAlias,
    /// Its protocol.
    pub provider: Provider,
    /// Its name at the provider.
    pub id: String,
    /// Where the provider is, without a slash at the end; empty for the vendor's own address and the offline model.
    pub base_url: String,
    /// Where the key is; none for models that want none.
    pub api_key: Option<SecretSource>,
    /// Whether the operator named the key. A key that was named and is not there is an error also at an address of
    /// one's own; a built-in alias that was sent elsewhere may well need none.
    pub key_is_named: bool,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Whether answers come as a stream.
    pub stream: bool,
    /// What it charges; none is free of charge.
    pub price: Option<Price>,
    /// Who is asked instead, in order.
    pub fallback: Vec<ModelAlias>,
    /// Tokens of a conversation that it holds.
    pub context_tokens: Option<u64>,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In an environment variable of the daemon.
    Environment(String),
    /// In a file, white space around it ignored.
    File(PathBuf),
    /// In the secret store, under this name.
    Stored(String),
}

/// Values of the secret store by name, opened for a start. Prints names alone.
#[derive(Default)]
pub struct Stored(pub BTreeMap<String, String>);

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Says why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set or empty.
    #[error("read the environment variable {name}: it is not set")]
    Unset {
        /// The variable.
        name: String,
    },
    /// The secret store has none of this name, or this is not the daemon, which alone can open it.
    #[error("find the secret {name} in the secret store")]
    NotStored {
        /// Its name.
        name: String,
    },
    /// The file cannot be read.
    #[error("read the secret in {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is empty.
    #[error("read the secret in {}: the file is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl SecretSource {
    /// Reads a reference that the key's kind allows; files are relative to `folder`.
    pub fn parse(text: &str, folder: &Path) -> Option<Self> {
        if !kind::is_secret_reference(text) {
            return None;
        }
        if let Some(path) = text.strip_prefix("file:") {
            return Some(Self::File(folder.join(path)));
        }
        if let Some(name) = text.strip_prefix("secret:") {
            return Some(Self::Stored(name.to_owned()));
        }
        let name = text.strip_prefix("${")?.strip_suffix('}')?;
        Some(Self::Environment(name.to_owned()))
    }

    /// Fetches the secret; `variable` looks up the environment, `stored` is what the secret store holds.
    pub fn resolve(&self, variable: impl Fn(&str) -> Option<String>, stored: &Stored) -> Result<String, SecretError> {
        match self {
            Self::Environment(name) => variable(name)
                .filter(|value| !value.trim().is_empty())
                .map(|value| value.trim().to_owned())
                .ok_or_else(|| SecretError::Unset { name: name.clone() }),
            Self::Stored(name) => {
                let value = stored.0.get(name).cloned();
                value.ok_or_else(|| SecretError::NotStored { name: name.clone() })
            }
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| SecretError::File {
                    path: path.clone(),
                    source,
                })?;
                match text.trim() {
                    "" => Err(SecretError::Empty { path: path.clone() }),
                    secret => Ok(secret.to_owned()),
                }
            }
        }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "${{{name}}}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Stored(name) => write!(f, "secret:{name}"),
        }
    }
}

/// A model that exists without a file.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// Its alias.
    pub alias: &'static str,
    provider: &'static str,
    id: &'static str,
    key: &'static str,
    /// US dollars for a million tokens: input, output, read from the cache, written to the cache.
    price: Option<[&'static str; 4]>,
}

/// The names of the parts of a price, in the order of [`BuiltIn`].
pub const PRICE_FIELDS: [&str; 4] = ["input", "output", "cacheRead", "cacheWrite"];

/// When the built-in prices were the vendors' list prices. They change; the operator's `models.<alias>.price` is what
/// counts.
pub const PRICES_AS_OF: &str = "2025-11";

const fn built_in(
    alias: &'static str,
    provider: &'static str,
    id: &'static str,
    key: &'static str,
    price: Option<[&'static str; 4]>,
) -> BuiltIn {
    BuiltIn {
        alias,
        provider,
        id,
        key,
        price,
    }
}

const ANTHROPIC_KEY: &str = "${ANTHROPIC_API_KEY}";
const OPENAI_KEY: &str = "${OPENAI_API_KEY}";

/// The aliases that exist without a file. Prices are of [`PRICES_AS_OF`].
#[rustfmt::skip] // one row a line: it is read as a table
pub const BUILT_IN: &[BuiltIn] = &[
    built_in("offline", "offline", "offline", "", None),
    built_in("claude-sonnet", "anthropic", "claude-sonnet-4-5", ANTHROPIC_KEY, Some(["3", "15", "0.3", "3.75"])),
    built_in("claude-opus", "anthropic", "claude-opus-4-5", ANTHROPIC_KEY, Some(["5", "25", "0.5", "6.25"])),
    built_in("claude-haiku", "anthropic", "claude-haiku-4-5", ANTHROPIC_KEY, Some(["1", "5", "0.1", "1.25"])),
    built_in("gpt", "openai", "gpt-5.1", OPENAI_KEY, Some(["1.25", "10", "0.125", "1.25"])),
];

impl BuiltIn {
    /// Its values by the name of their key.
    pub fn fields(&self) -> impl Iterator<Item = (String, &'static str)> {
        let plain = [("provider", self.provider), ("id", self.id), ("apiKey", self.key)];
        let plain = plain.into_iter().filter(|(_, value)| !value.is_empty());
        let prices = PRICE_FIELDS.into_iter().zip(self.price.into_iter().flatten());
        plain
            .map(|(name, value)| (name.to_owned(), value))
            .chain(prices.map(|(name, value)| (format!("price.{name}"), value)))
    }
}

/// The models of the settings in force.
pub fn models(settings: &Settings, folder: &Path, bad: &mut Vec<BadValue>) -> BTreeMap<ModelAlias, ModelSettings> {
    let mut models = BTreeMap::new();
    for (name, place) in settings.names(&["models"]) {
        let at = |field: &'static str| ["models", name.as_str(), field];
        let alias = match ModelAlias::new(&name) {
            Ok(alias) => alias,
            Err(error) => {
                bad.push(BadValue {
                    place,
                    key: format!("models.{name:?}"),
                    found: format!("{name:?}"),
                    allowed: format!("a name of 1 to 64 characters of {}", error.allowed),
                });
                continue;
            }
        };
        let Some(provider) = settings.text(&at("provider")).and_then(Provider::from_word) else {
            bad.push(BadValue {
                place,
                key: key::render_path(&at("provider").map(str::to_owned)),
                found: "nothing".into(),
                allowed: format!("one of {}", Provider::ALL.map(Provider::as_str).join(", ")),
            });
            continue;
        };
        let base_url = settings.text(&at("baseUrl")).unwrap_or_default();
        let secret = settings.get(&at("apiKey"));
        let usual = Timeouts::default();
        let wait = |field, usual| settings.number(&at(field)).unwrap_or(usual);
        let model = ModelSettings {
            id: settings.text(&at("id")).unwrap_or(&name).to_owned(),
            base_url: base_url.trim_end_matches('/').to_owned(),
            api_key: secret.and_then(|secret| SecretSource::parse(secret.value.as_str()?, folder)),
            key_is_named: secret.is_some_and(|secret| secret.origin != Place::Default),
            timeouts: Timeouts {
                connect_ms: wait("connectTimeout", usual.connect_ms),
                first_byte_ms: wait("firstByteTimeout", usual.first_byte_ms),
                idle_ms: wait("idleTimeout", usual.idle_ms),
                total_ms: wait("timeout", usual.total_ms),
            },
            stream: settings.flag(&at("stream")).unwrap_or(true),
            price: price(settings, &name, bad),
            fallback: fallback(settings, &name, bad),
            alias: alias.clone(),
            provider,
            context_tokens: settings.number(&at("contextTokens")),
        };
        models.insert(alias, model);
    }
    refuse_circles(settings, &models, bad);
    models
}

/// The price; a half one is refused, because the other half would be free of charge.
fn price(settings: &Settings, name: &str, bad: &mut Vec<BadValue>) -> Option<Price> {
    let part = |field| settings.get(&["models", name, "price", field]);
    let amount = |field| settings.usd(&["models", name, "price", field]).map(|amount| amount.0);
    let given = PRICE_FIELDS.into_iter().find_map(part)?;
    for field in ["input", "output"] {
        if part(field).is_none() {
            bad.push(BadValue {
                place: given.origin.clone(),
                key: key::render_path(&["models", name, "price", field].map(str::to_owned)),
                found: "nothing".into(),
                allowed: format!(
                    "{}, because another part of the price is set",
                    kind::Kind::Usd.allowed()
                ),
            });
        }
    }
    let (input, output) = (amount("input")?, amount("output")?);
    Some(Price {
        input,
        output,
        cache_read: amount("cacheRead").unwrap_or(input),
        cache_write: amount("cacheWrite").unwrap_or(input),
    })
}

fn fallback(settings: &Settings, name: &str, bad: &mut Vec<BadValue>) -> Vec<ModelAlias> {
    let path = ["models", name, "fallback"];
    let known: Vec<String> = settings.names(&["models"]).into_iter().map(|(name, _)| name).collect();
    let mut others: Vec<ModelAlias> = Vec::new();
    for other in settings.texts(&path).unwrap_or_default() {
        let mut refuse = |allowed: String| {
            let origin = settings.get(&path).map(|setting| setting.origin.clone());
            bad.push(BadValue {
                place: origin.unwrap_or(Place::Default),
                key: key::render_path(&path.map(str::to_owned)),
                found: format!("{other:?}"),
                allowed,
            });
        };
        match ModelAlias::new(&other) {
            _ if other == name => refuse("other models than itself".into()),
            Ok(alias) if others.contains(&alias) => refuse("each alias once".into()),
            Ok(alias) if known.contains(&other) => others.push(alias),
            _ => refuse(format!("aliases that are configured: {}", known.join(", "))),
        }
    }
    others
}

/// A chain that comes back to where it began would ask the same models for ever.
fn refuse_circles(settings: &Settings, models: &BTreeMap<ModelAlias, ModelSettings>, bad: &mut Vec<BadValue>) {
    for alias in models.keys() {
        let mut seen: Vec<&ModelAlias> = Vec::new();
        let mut open: Vec<&ModelAlias> = models[alias].fallback.iter().collect();
        while let Some(next) = open.pop() {
            if next == alias {
                let path = ["models", alias.as_str(), "fallback"];
                let origin = settings.get(&path).map(|setting| setting.origin.clone());
                bad.push(BadValue {
                    place: origin.unwrap_or(Place::Default),
                    key: key::render_path(&path.map(str::to_owned)),
                    found: "a chain that comes back to it".into(),
                    allowed: "models whose own fallbacks do not lead back".into(),
                });
                break;
            }
            if !seen.contains(&next) {
                seen.push(next);
                open.extend(models.get(next).into_iter().flat_map(|model| &model.fallback));
            }
        }
    }
}
