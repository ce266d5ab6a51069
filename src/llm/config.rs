//! One model as configured.
//!
//! Refuses to know: where the configuration comes from. Invariant: nothing here prints a key.

use std::fmt;
use std::sync::Arc;

use crate::domain::money::Price;
use crate::domain::name::ModelAlias;

/// Who answers, and in which dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// The model inside this program.
    Offline,
    /// OpenAI's Chat Completions, also spoken by Ollama, vLLM, llama.cpp and many others.
    OpenAiChat,
    /// OpenAI's Responses.
    OpenAiResponses,
    /// Anthropic's Messages.
    Anthropic,
}

impl Provider {
    /// Every provider, for tables and tests.
    pub const ALL: [Self; 4] = [Self::Offline, Self::OpenAiChat, Self::OpenAiResponses, Self::Anthropic];

    /// The stable word for configuration and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::OpenAiChat => "openai",
            Self::OpenAiResponses => "openai-responses",
            Self::Anthropic => "anthropic",
        }
    }

    /// The provider of a word made by [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == word)
    }

    /// The vendor's own address; none for the model inside this program.
    pub fn vendor_url(self) -> Option<&'static str> {
        match self {
            Self::Offline => None,
            Self::OpenAiChat | Self::OpenAiResponses => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com"),
        }
    }

    /// The environment variable in which the vendor's key usually is.
    pub fn vendor_key_env(self) -> Option<&'static str> {
        match self {
            Self::Offline => None,
            Self::OpenAiChat | Self::OpenAiResponses => Some("OPENAI_API_KEY"),
            Self::Anthropic => Some("ANTHROPIC_API_KEY"),
        }
    }
}

/// A key. It can be sent and not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a key; blanks and line ends around it (from a file) are removed. An empty key is none.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The key itself, for the header that carries it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How long to wait, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect_ms: u64,
    /// From the request until the first byte of a streamed answer. An answer that is asked for as a whole is sent when
    /// it is complete, so only `total_ms` bounds it.
    pub first_byte_ms: u64,
    /// Between two bytes of an answer; a ping or comment counts as life.
    pub idle_ms: u64,
    /// For a whole answer, when the deadline given with the request is later.
    pub total_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            first_byte_ms: 120_000,
            idle_ms: 60_000,
            total_ms: 600_000,
        }
    }
}

/// One configured model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelConfig {
    /// The name that agents use.
    pub alias: ModelAlias,
    /// Who answers.
    pub provider: Provider,
    /// The provider's name of the model.
    pub id: Arc<str>,
    /// Where, up to and without `/chat/completions`, `/responses` or `/v1/messages`; none is the vendor's own address.
    pub base_url: Option<Arc<str>>,
    /// The key; servers at a `base_url` of one's own often want none.
    pub api_key: Option<Secret>,
    /// Where the operator said that the key is: an environment variable or a file. A key that was named and is not
    /// there is missing also at a `base_url` of one's own. None is the vendor's usual variable.
    pub api_key_env: Option<Arc<str>>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Whether answers are asked for as a stream; some compatible servers lose calls when they stream.
    pub stream: bool,
    /// Tokens of a conversation that it holds, the answer included; none is not known.
    pub context_tokens: Option<u64>,
    /// What it charges; none is free of charge.
    pub price: Option<Price>,
    /// Who is asked instead, in order, when this one cannot be had.
    pub fallback: Vec<ModelAlias>,
}

impl ModelConfig {
    /// A model with defaults for all but its names.
    pub fn new(alias: ModelAlias, provider: Provider, id: impl Into<Arc<str>>) -> Self {
        Self {
            alias,
            provider,
            id: id.into(),
            base_url: None,
            api_key: None,
            api_key_env: None,
            timeouts: Timeouts::default(),
            stream: true,
            context_tokens: None,
            price: None,
            fallback: Vec::new(),
        }
    }

    /// Where it is asked, without a slash at the end; none for the model inside this program.
    pub fn url(&self) -> Option<&str> {
        let url = self.base_url.as_deref().or(self.provider.vendor_url())?;
        (self.provider != Provider::Offline).then(|| url.trim_end_matches('/'))
    }

    /// Whether a request without a key is sure to be refused: at the vendor's own address.
    pub fn needs_key(&self) -> bool {
        self.url().is_some() && self.url() == self.provider.vendor_url()
    }

    /// Whether a request would go out without the key that it should have.
    pub fn lacks_key(&self) -> bool {
        self.api_key.is_none() && self.url().is_some() && (self.needs_key() || self.api_key_env.is_some())
    }

    /// The variable to name when the key is missing.
    pub fn key_env(&self) -> &str {
        let usual = self.provider.vendor_key_env().unwrap_or("");
        self.api_key_env.as_deref().unwrap_or(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let mut config = ModelConfig::new(ModelAlias::new("m").expect("valid"), Provider::Anthropic, "x");
        config.api_key = Secret::new(" sk-very-secret\n");
        assert_eq!(config.api_key.as_ref().map(Secret::expose), Some("sk-very-secret"));
        assert!(!format!("{config:?} {config:#?}").contains("very-secret"));
        assert_eq!(Secret::new(" \n"), None);
    }

    #[test]
    fn a_key_is_missed_where_the_vendor_wants_one_or_the_operator_named_one() {
        let check = |url: Option<&str>, named: Option<&str>, key: Option<&str>, lacks: bool| {
            let mut config = ModelConfig::new(ModelAlias::new("m").expect("valid"), Provider::OpenAiChat, "x");
            config.base_url = url.map(Into::into);
            config.api_key_env = named.map(Into::into);
            config.api_key = key.and_then(Secret::new);
            assert_eq!(config.lacks_key(), lacks, "{config:?}");
            assert_eq!(config.key_env(), named.unwrap_or("OPENAI_API_KEY"));
        };
        let local = Some("http://127.0.0.1:11434/v1");
        check(None, None, None, true);
        check(None, None, Some("k"), false);
        check(local, None, None, false);
        check(local, Some("LOCAL_KEY"), None, true);
        check(local, Some("LOCAL_KEY"), Some("k"), false);
    }

    #[test]
    fn only_the_vendors_own_address_needs_a_key() {
        let mut config = ModelConfig::new(ModelAlias::new("m").expect("valid"), Provider::OpenAiChat, "x");
        assert!(config.needs_key());
        config.base_url = Some("https://api.openai.com/v1/".into());
        assert!(config.needs_key());
        config.base_url = Some("http://127.0.0.1:11434/v1/".into());
        assert!(!config.needs_key());
        assert_eq!(config.url(), Some("http://127.0.0.1:11434/v1"));
        assert!(!config.lacks_key(), "a server of one's own may want none");
        config.api_key_env = Some("MY_KEY".into());
        assert!(config.lacks_key() && !config.needs_key());
        config.provider = Provider::Offline;
        assert!(!config.needs_key() && !config.lacks_key());
    }
}
