//! Embeddings from a server that speaks the OpenAI form (Ollama, vLLM, llama.cpp and others do).
//!
//! Refuses to know: what the texts are for. Invariants: a request has at most [`BATCH_MAX`] texts and one deadline; it
//! is made once, who asks decides whether to ask again; an answer is used
//! whole or not at all: as many vectors as texts, each of the same length as all before, every number finite; no
//! redirect is followed, no ambient proxy used; the key is in no error and no log.
//!
//! **Source**: <https://platform.openai.com/docs/api-reference/embeddings>

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::domain::fault::Fault;
use crate::runtime::tls::http_client;

use super::vector::Quantised;

/// Texts of one request.
pub const BATCH_MAX: usize = 64;
/// Bytes of a text that are sent; models read a few hundred words.
const TEXT_BYTES_MAX: usize = 8 * 1024;
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Requests of questions at once; more are answered without.
const ASKING_MAX: usize = 32;
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where embeddings come from.
#[derive(Clone)]
pub struct EndpointConfig {
    /// The address before `/embeddings`, like `http://127.0.0.1:11434/v1`.
    pub base_url: Arc<str>,
    /// The model's name there.
    pub model: Arc<str>,
    /// Sent as a bearer token, if any.
    pub key: Option<Arc<str>>,
    /// Of every vector.
    pub dimensions: usize,
}

impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("base_url", &self.base_url)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// Why there are no vectors.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The HTTP client could not be made.
    #[error("make an HTTP client for embeddings")]
    Client(#[source] reqwest::Error),
    /// Nobody answered, or not to the end.
    #[error("ask for embeddings")]
    Request(#[source] reqwest::Error),
    /// Not within the deadline.
    #[error("ask for embeddings: no complete answer within {0:?}")]
    TimedOut(Duration),
    /// The server refused.
    #[error("ask for embeddings: the server answered {0}")]
    Status(StatusCode),
    /// More than anybody reads.
    #[error("read embeddings: the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// Too many ask at once.
    #[error("ask for embeddings: {ASKING_MAX} questions ask already")]
    Busy,
    /// Not the JSON that was asked for.
    #[error("read embeddings: the answer is not in the OpenAI form")]
    Form(#[source] serde_json::Error),
    /// Vectors are missing, or too many.
    #[error("read embeddings: {got} vectors for {texts} texts")]
    Count {
        /// How many came.
        got: usize,
        /// For how many.
        texts: usize,
    },
    /// Of another length.
    #[error("read embeddings: a vector has {got} dimensions, not {expected}")]
    Dimensions {
        /// It has.
        got: usize,
        /// The others have.
        expected: usize,
    },
    /// Not finite, or zero.
    #[error("read embeddings: vector {0} has no direction")]
    NoDirection(usize),
}

impl EndpointError {
    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::TimedOut(_) => Fault::TimedOut,
            Self::Status(status) if *status == StatusCode::UNAUTHORIZED || *status == StatusCode::FORBIDDEN => {
                Fault::Denied
            }
            Self::Busy => Fault::Overloaded,
            Self::Client(_) | Self::Request(_) | Self::Status(_) => Fault::Unavailable,
            Self::TooLong | Self::Form(_) | Self::Count { .. } | Self::Dimensions { .. } | Self::NoDirection(_) => {
                Fault::Corrupt
            }
        }
    }

    /// Whether one of the texts may be what is wrong, rather than the server. Some answer a text that is too long for
    /// their model with 500.
    pub fn may_be_a_text(&self) -> bool {
        match self {
            Self::NoDirection(_) => true,
            Self::Status(status) => matches!(status.as_u16(), 400 | 413 | 422 | 500),
            _ => false,
        }
    }
}

/// The server, as long as the program runs. Nothing is opened before the first request.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    name: Arc<str>,
    client: OnceLock<Client>,
    asking: Semaphore,
}

impl Endpoint {
    /// Of this configuration.
    pub fn new(config: EndpointConfig) -> Self {
        let name = format!("openai:{}:{}", config.model, config.dimensions).into();
        Self {
            config,
            name,
            client: OnceLock::new(),
            asking: Semaphore::new(ASKING_MAX),
        }
    }

    /// Names the vectors that it makes, with their dimensions; stored beside each of them.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The vectors of these texts, in order, at most [`BATCH_MAX`].
    ///
    /// **Cancel**: the request ends on the wire.
    pub async fn embed(&self, texts: &[Arc<str>], deadline: Duration) -> Result<Vec<Quantised>, EndpointError> {
        let answer = tokio::time::timeout(deadline, self.once(texts)).await;
        answer.map_err(|_| EndpointError::TimedOut(deadline))?
    }

    /// The vector of a question.
    ///
    /// **Limits**: 32 at once. **Cancel**: the request ends on the wire.
    pub async fn ask(&self, text: &Arc<str>, deadline: Duration) -> Result<Quantised, EndpointError> {
        let _one = self.asking.try_acquire().map_err(|_| EndpointError::Busy)?;
        let mut vectors = self.embed(std::slice::from_ref(text), deadline).await?;
        vectors.pop().ok_or(EndpointError::Count { got: 0, texts: 1 })
    }

    async fn once(&self, texts: &[Arc<str>]) -> Result<Vec<Quantised>, EndpointError> {
        let input: Vec<&str> = texts.iter().map(|text| beginning(text)).collect();
        let body = json!({ "model": &*self.config.model, "input": input, "encoding_format": "float" });
        let url = format!("{}/embeddings", self.config.base_url.trim_end_matches('/'));
        let mut request = self
            .client()?
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string());
        if let Some(key) = &self.config.key {
            request = request.bearer_auth(key);
        }
        let mut response = request
            .send()
            .await
            .map_err(|error| EndpointError::Request(error.without_url()))?;
        if !response.status().is_success() {
            return Err(EndpointError::Status(response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| EndpointError::Request(error.without_url()))?
        {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(EndpointError::TooLong);
            }
            bytes.extend_from_slice(&chunk);
        }
        vectors(&bytes, texts.len(), self.config.dimensions)
    }

    fn client(&self) -> Result<&Client, EndpointError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = http_client(|builder| {
            builder
                .connect_timeout(CONNECT_MAX)
                .user_agent(concat!("openclaw/", env!("CARGO_PKG_VERSION")))
        })
        .map_err(EndpointError::Client)?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// As much of a text as is sent.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[derive(Deserialize)]
struct AnswerWire {
    data: Vec<VectorWire>,
}

#[derive(Deserialize)]
struct VectorWire {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// What an answer says, if it says all of it.
fn vectors(bytes: &[u8], texts: usize, expected: usize) -> Result<Vec<Quantised>, EndpointError> {
    let answer: AnswerWire = serde_json::from_slice(bytes).map_err(EndpointError::Form)?;
    let got = answer.data.len();
    let mut by_text: Vec<Option<Quantised>> = vec![None; texts];
    for (at, vector) in answer.data.into_iter().enumerate() {
        let got = vector.embedding.len();
        if got != expected {
            return Err(EndpointError::Dimensions { got, expected });
        }
        let place = vector.index.unwrap_or(at);
        let quantised = Quantised::of(&vector.embedding).ok_or(EndpointError::NoDirection(place))?;
        match by_text.get_mut(place) {
            Some(slot @ None) => *slot = Some(quantised),
            _ => return Err(EndpointError::Count { got, texts }),
        }
    }
    let all: Option<Vec<Quantised>> = by_text.into_iter().collect();
    all.ok_or(EndpointError::Count { got, texts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_used_whole_or_not_at_all() {
        let check = |answer: &str, dimensions: usize, expected: &str| {
            let said = match vectors(answer.as_bytes(), 2, dimensions) {
                Ok(vectors) => format!("{} of {}", vectors.len(), vectors[0].codes.len()),
                Err(error) => error.to_string(),
            };
            assert!(said.contains(expected), "{answer}: {said}");
        };
        let two = r#"{"data":[{"index":1,"embedding":[0,1]},{"index":0,"embedding":[1,0]}],"model":"m"}"#;
        check(two, 2, "2 of 2");
        check(two, 3, "2 dimensions, not 3");
        check(r#"{"data":[{"embedding":[1,0]},{"embedding":[1,0]}]}"#, 2, "2 of 2");
        check(r#"{"data":[{"embedding":[1,0]}]}"#, 2, "1 vectors for 2 texts");
        check(r#"{"data":[]}"#, 2, "0 vectors for 2 texts");
        check(
            r#"{"data":[{"index":0,"embedding":[1,0]},{"index":0,"embedding":[1,0]}]}"#,
            2,
            "for 2 texts",
        );
        check(
            r#"{"data":[{"index":0,"embedding":[1,0]},{"index":7,"embedding":[1,0]}]}"#,
            2,
            "for 2 texts",
        );
        check(
            r#"{"data":[{"embedding":[1,0]},{"embedding":[1,0,0]}]}"#,
            2,
            "3 dimensions, not 2",
        );
        check(
            r#"{"data":[{"embedding":[0,0]},{"embedding":[1,0]}]}"#,
            2,
            "vector 0 has no direction",
        );
        check(
            r#"{"data":[{"embedding":[1e39,0]},{"embedding":[1,0]}]}"#,
            2,
            "read embeddings",
        );
        check(
            r#"{"data":[{"embedding":[NaN,0]},{"embedding":[1,0]}]}"#,
            2,
            "not in the OpenAI form",
        );
        check(r#"{"error":"no such model"}"#, 2, "not in the OpenAI form");
        let first = vectors(two.as_bytes(), 2, 2).expect("whole");
        assert_eq!(&*first[0].codes, [127, 0], "by index, not by place");
    }
}
