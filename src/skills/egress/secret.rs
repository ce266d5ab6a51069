//! Secrets that the proxy adds to requests, so that programs use them without having them.

use std::fmt;
use std::sync::Arc;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

/// A header for all requests to one server.
#[derive(Clone)]
pub struct EgressSecret {
    name: Arc<str>,
    /// The server: scheme, host and port count.
    server: Url,
    header: HeaderName,
    value: HeaderValue,
}

/// Says why a secret cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The server is no address of a server.
    #[error("`{server}` is not the address of a server")]
    Server {
        /// What was given.
        server: String,
    },
    /// The header has no valid name.
    #[error("`{header}` is not the name of a header")]
    Header {
        /// What was given.
        header: String,
    },
    /// The secret has characters that no header can carry.
    #[error("the secret for {server} cannot be put into a header")]
    Value {
        /// The server.
        server: String,
    },
}

impl EgressSecret {
    /// A secret of this name for this server. As `Authorization` it is a bearer token; in any other header it stands alone.
    pub fn new(name: &str, server: &str, header: &str, secret: &str) -> Result<Self, SecretError> {
        let parsed = Url::parse(server)
            .ok()
            .filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
        let parsed = parsed.ok_or_else(|| SecretError::Server {
            server: server.to_owned(),
        })?;
        let named: HeaderName = header.parse().map_err(|_| SecretError::Header {
            header: header.to_owned(),
        })?;
        let text = if named == AUTHORIZATION {
            format!("Bearer {secret}")
        } else {
            secret.to_owned()
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| SecretError::Value {
            server: server.to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(Self {
            server: parsed,
            name: name.into(),
            header: named,
            value,
        })
    }

    /// The name that the operator gave it.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The request's address at the secret's server, when it is meant for it: by plain HTTP at the server's own port
    /// or at the usual one. A program cannot be given a secret within its own TLS, so it asks without and the proxy
    /// speaks TLS for it.
    pub(super) fn address_of(&self, asked: &Url) -> Option<Url> {
        let same_host = asked.host_str() == self.server.host_str();
        let port = asked.port_or_known_default();
        let same_port = port == self.server.port_or_known_default() || port == Some(80);
        if !(same_host && same_port) {
            return None;
        }
        let mut url = asked.clone();
        url.set_scheme(self.server.scheme()).ok()?;
        url.set_port(self.server.port()).ok()?;
        Some(url)
    }

    /// The header.
    pub(super) fn header(&self) -> (HeaderName, HeaderValue) {
        (self.header.clone(), self.value.clone())
    }
}

impl fmt::Debug for EgressSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EgressSecret({} at {})", self.header, self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_the_server_of_a_secret_goes_there_by_its_own_scheme() {
        let check = |server: &str, asked: &str, wanted: Option<&str>| {
            let secret = EgressSecret::new("s", server, "authorization", "x").expect("valid");
            let asked = Url::parse(asked).expect("URL");
            let found = secret.address_of(&asked).map(String::from);
            assert_eq!(found.as_deref(), wanted, "{server} {asked}");
        };
        let api = "https://api.example";
        check(api, "http://api.example/v1?x=1", Some("https://api.example/v1?x=1"));
        check(api, "http://api.example:443/v1", Some("https://api.example/v1"));
        check(api, "http://api.example:8080/v1", None);
        check(api, "http://other.example/v1", None);
        check(
            "http://127.0.0.1:99",
            "http://127.0.0.1:99/a",
            Some("http://127.0.0.1:99/a"),
        );
        assert!(EgressSecret::new("s", "api", "x", "y").is_err());
        assert!(EgressSecret::new("s", api, "not a header", "y").is_err());
        assert!(EgressSecret::new("s", api, "x-key", "a\nb").is_err());
        let shown = format!("{:?}", EgressSecret::new("s", api, "x-key", "hidden").expect("valid"));
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
