//! Models as configured: plain settings under an alias. Asking them is the business of another layer.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::BadValue;
use super::key;
use super::kind;
use super::setting::Settings;
use crate::domain::name::ModelAlias;

/// Which protocol a model speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// The built-in model: deterministic, no network.
    Offline,
    /// OpenAI's chat protocol, also spoken by Ollama, vLLM and llama.cpp.
    OpenAi,
    /// Anthropic's messages protocol.
    Anthropic,
}

impl Provider {
    /// The stable word for configuration and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Offline, Self::OpenAi, Self::Anthropic]
            .into_iter()
            .find(|provider| provider.as_str() == word)
    }

    /// Where the provider is when the configuration does not say. Paths are appended as the vendors' own SDKs do:
    /// `/chat/completions` for OpenAI (whose base ends in `/v1`), `/v1/messages` for Anthropic.
    pub fn default_base_url(self) -> &'static str {
        match self {
            Self::Offline => "",
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com",
        }
    }
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSettings {
    /// The name under which agents ask for it.
    pub alias: ModelAlias,
    /// Its protocol.
    pub provider: Provider,
    /// Its name at the provider.
    pub id: String,
    /// Where the provider is, without a slash at the end; empty for the offline model.
    pub base_url: String,
    /// Where the key is; none for models that want none.
    pub api_key: Option<SecretSource>,
    /// Tokens of a conversation that it holds.
    pub context_tokens: Option<u64>,
    /// Longest time of one call, in milliseconds.
    pub timeout_ms: u64,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In an environment variable of the daemon.
    Environment(String),
    /// In a file, white space around it ignored.
    File(PathBuf),
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
        let name = text.strip_prefix("${")?.strip_suffix('}')?;
        Some(Self::Environment(name.to_owned()))
    }

    /// Fetches the secret; `variable` looks up the environment.
    pub fn resolve(&self, variable: impl Fn(&str) -> Option<String>) -> Result<String, SecretError> {
        match self {
            Self::Environment(name) => variable(name)
                .filter(|value| !value.trim().is_empty())
                .map(|value| value.trim().to_owned())
                .ok_or_else(|| SecretError::Unset { name: name.clone() }),
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
        }
    }
}

/// The aliases that exist without a file: alias, provider, id, key.
pub const BUILT_IN: &[(&str, &str, &str, &str)] = &[
    ("offline", "offline", "offline", ""),
    (
        "claude-sonnet",
        "anthropic",
        "claude-sonnet-4-5",
        "${ANTHROPIC_API_KEY}",
    ),
    ("claude-opus", "anthropic", "claude-opus-4-5", "${ANTHROPIC_API_KEY}"),
    ("claude-haiku", "anthropic", "claude-haiku-4-5", "${ANTHROPIC_API_KEY}"),
    ("gpt", "openai", "gpt-5.1", "${OPENAI_API_KEY}"),
];

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
                allowed: "one of offline, openai, anthropic".into(),
            });
            continue;
        };
        let base_url = settings.text(&at("baseUrl")).unwrap_or(provider.default_base_url());
        let secret = settings.text(&at("apiKey"));
        let timeout_ms = settings.number(&at("timeout")).unwrap_or(600_000);
        let model = ModelSettings {
            id: settings.text(&at("id")).unwrap_or(&name).to_owned(),
            base_url: base_url.trim_end_matches('/').to_owned(),
            api_key: secret.and_then(|text| SecretSource::parse(text, folder)),
            alias: alias.clone(),
            provider,
            context_tokens: settings.number(&at("contextTokens")),
            timeout_ms,
        };
        models.insert(alias, model);
    }
    models
}
