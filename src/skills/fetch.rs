//! Fetches over HTTP under the guard of [`super::network`]: each hop is judged, each address is judged when it is
//! connected to, and nothing is read beyond its bound.
//!
//! Refuses to know: skills. Invariants: proxy variables of the environment do not count; a name is resolved here
//! and connected to at the very addresses that were judged, so a second answer of the DNS changes nothing; a redirect
//! leads nowhere that whoever asks may not go by itself, and takes nothing along to another origin.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, Url};

use crate::domain::capability::CapabilitySet;
use crate::domain::code;
use crate::domain::fault::in_one_line;
use crate::runtime::tls::http_client;

use super::needs;
use super::network::{NetworkPolicy, Passage, why_refused};

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;
/// Time to connect.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// What was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
    pub(super) truncated: bool,
}

/// Why nothing was fetched.
#[derive(Debug)]
pub(super) enum FetchStop {
    /// In words for the model.
    Refused(String),
    /// The client cannot be made.
    Client(reqwest::Error),
    /// The request broke off after it was begun, in words for the model.
    Broken(String),
}

/// What is sent.
pub(super) struct Sending {
    pub(super) method: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// Where the servers that are asked may lead on to.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    /// What may be reached; none means that nothing was said.
    granted: Option<Arc<CapabilitySet>>,
    /// Whether a person agreed to the first address: then no other one is asked.
    agreed: bool,
}

impl Redirects {
    /// Those of a call that may touch this, and to which a person agreed or was not asked to.
    pub(super) fn of(granted: Option<Arc<CapabilitySet>>, agreed: bool) -> Self {
        Self { granted, agreed }
    }

    fn judge(&self, next: &Url) -> Result<(), String> {
        if self.agreed {
            return Err(format!(
                "it redirects to {next}, and a person agreed to the first address alone; make a call for that one"
            ));
        }
        let needed = needs::of_address(next);
        match &self.granted {
            Some(granted) if !granted.allows(&needed) => {
                let code = code::CAPABILITY_DENIED.id;
                Err(format!(
                    "it redirects to {next}, and {needed} is not granted here [{code}]"
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Two clients: one that connects to public addresses only, one for hosts that the operator opens.
pub(super) struct Fetcher {
    policy: NetworkPolicy,
    clients: Mutex<[Option<Client>; 2]>,
}

impl Fetcher {
    pub(super) fn new(policy: NetworkPolicy) -> Self {
        Self {
            policy,
            clients: Mutex::default(),
        }
    }

    /// Fetches at most `bytes_max` bytes of the body.
    pub(super) async fn fetch(&self, url: &str, bytes_max: usize, redirects: &Redirects) -> Result<Fetched, FetchStop> {
        let accept = "text/html, text/*;q=0.9, application/json;q=0.9, */*;q=0.5";
        let sending = Sending {
            method: "GET".to_owned(),
            headers: vec![(ACCEPT.as_str().to_owned(), accept.to_owned())],
            body: Vec::new(),
        };
        self.send(url, &sending, bytes_max, redirects).await
    }

    /// Sends a request and reads at most `bytes_max` bytes of the answer's body. Redirects are followed for GET and
    /// HEAD only, where they may lead, and neither headers nor body are sent on to another origin.
    pub(super) async fn send(
        &self,
        url: &str,
        sending: &Sending,
        bytes_max: usize,
        redirects: &Redirects,
    ) -> Result<Fetched, FetchStop> {
        let refuse = |reason: String| FetchStop::Refused(reason);
        let mut url = Url::parse(url).map_err(|error| refuse(format!("`{url}` is not a URL: {error}")))?;
        let first = url.origin();
        let method = Method::from_bytes(sending.method.as_bytes())
            .map_err(|_| refuse(format!("`{}` is not a method", sending.method)))?;
        let follows = matches!(method, Method::GET | Method::HEAD);
        for _ in 0..=REDIRECTS_MAX {
            let passage = self.policy.judge(&url).map_err(refuse)?;
            let mut request = self.client(passage)?.request(method.clone(), url.clone());
            for (name, value) in &sending.headers {
                if url.origin() == first || name == ACCEPT.as_str() {
                    request = request.header(name, value);
                }
            }
            if !sending.body.is_empty() && url.origin() == first {
                request = request.body(sending.body.clone());
            }
            // Nothing is unpacked, so nothing can swell.
            let sent = request.header(ACCEPT_ENCODING, "identity").send().await;
            let response = sent.map_err(|error| {
                let reason = format!("failed to fetch {url}: {}", in_one_line(&error));
                // What was not connected or could not be built was not sent.
                if follows || error.is_connect() || error.is_builder() {
                    refuse(reason)
                } else {
                    FetchStop::Broken(reason)
                }
            })?;
            check_peer(passage, &response).map_err(refuse)?;
            if follows && let Some(next) = next_hop(&url, &response).map_err(refuse)? {
                redirects.judge(&next).map_err(refuse)?;
                url = next;
                continue;
            }
            return read(url, response, bytes_max).await.map_err(|reason| {
                if follows {
                    refuse(reason)
                } else {
                    FetchStop::Broken(reason)
                }
            });
        }
        Err(refuse(format!(
            "more than {REDIRECTS_MAX} redirects, the last to {url}"
        )))
    }

    /// Made on first use: making one reads the certificates of the system.
    pub(super) fn client(&self, passage: Passage) -> Result<Client, FetchStop> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut clients[usize::from(passage == Passage::Opened)];
        if let Some(client) = slot {
            return Ok(client.clone());
        }
        let client = http_client(|builder| {
            builder
                .referer(false)
                .connect_timeout(CONNECT_MAX)
                .user_agent(concat!("openclaw/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(Arc::new(JudgingResolver { passage }))
        })
        .map_err(FetchStop::Client)?;
        Ok(slot.insert(client).clone())
    }
}

/// Resolves names and leaves out what may not be connected to. It is not asked for addresses in URLs: those are
/// judged with the URL.
struct JudgingResolver {
    passage: Passage,
}

impl Resolve for JudgingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let passage = self.passage;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let judged = judge_answers(passage, name.as_str(), found)?;
            Ok(Box::new(judged.into_iter()) as Addrs)
        })
    }
}

pub(super) fn judge_answers(passage: Passage, name: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, String> {
    if passage == Passage::Opened {
        return Ok(found);
    }
    let first = found.first().copied();
    let public: Vec<SocketAddr> = found
        .into_iter()
        .filter(|answer| why_refused(answer.ip()).is_none())
        .collect();
    match first {
        Some(first) if public.is_empty() => {
            let what = why_refused(first.ip()).unwrap_or("not public");
            Err(format!(
                "{name} stands for {}, which is {what}; the operator can allow it with its port",
                first.ip()
            ))
        }
        _ => Ok(public),
    }
}

/// The second net: what was in fact connected to.
pub(super) fn check_peer(passage: Passage, response: &Response) -> Result<(), String> {
    let peer = response.remote_addr().filter(|_| passage == Passage::Public);
    match peer.and_then(|peer| why_refused(peer.ip())) {
        Some(what) => Err(format!("the server's address is {what}")),
        None => Ok(()),
    }
}

fn next_hop(url: &Url, response: &Response) -> Result<Option<Url>, String> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
        return Ok(None);
    };
    let location = location
        .to_str()
        .map_err(|_| "a redirect leads to what is not text".to_owned())?;
    let next = url
        .join(location)
        .map_err(|error| format!("a redirect leads to `{location}`, which is not a URL: {error}"))?;
    if url.scheme() == "https" && next.scheme() == "http" {
        return Err(format!("a redirect leads from https to {next}"));
    }
    Ok(Some(next))
}

async fn read(url: Url, mut response: Response, bytes_max: usize) -> Result<Fetched, String> {
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
    let status = response.status();
    let (mut body, mut truncated) = (Vec::new(), false);
    loop {
        let piece = response.chunk().await;
        let Some(piece) = piece.map_err(|error| format!("failed to read from {url}: {}", in_one_line(&error)))? else {
            break;
        };
        let room = bytes_max - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            truncated = true;
            break;
        }
    }
    Ok(Fetched {
        url,
        status,
        content_type,
        body,
        truncated,
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that gives each connection the next answer; says its port.
    async fn server(answers: Vec<String>) -> (u16, impl Future<Output = ()>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
        let port = listener.local_addr().expect("address").port();
        let serve = async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.expect("accept");
                let mut request = [0; 4096];
                let _ = socket.read(&mut request).await.expect("request");
                // The client may have read enough before the end.
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        };
        (port, serve)
    }

    fn page(status: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    }

    async fn fetch_with(
        allow: &[String],
        url: &str,
        bytes_max: usize,
        serve: impl Future<Output = ()>,
    ) -> Result<Fetched, String> {
        let policy = NetworkPolicy::parse(allow.iter().map(String::as_str)).expect("policy");
        let fetcher = Fetcher::new(policy);
        let redirects = Redirects::default();
        let fetched = tokio::select! {
            fetched = fetcher.fetch(url, bytes_max, &redirects) => fetched,
            () = async { serve.await; std::future::pending().await } => unreachable!(),
        };
        fetched.map_err(|stop| match stop {
            FetchStop::Refused(reason) => reason,
            other => panic!("{other:?}"),
        })
    }

    #[tokio::test]
    async fn an_allowed_host_is_fetched_and_cut_at_the_bound() {
        let (port, serve) = server(vec![page("200 OK", "Content-Type: text/plain\r\n", "0123456789")]).await;
        let fetched = fetch_with(
            &[format!("127.0.0.1:{port}")],
            &format!("http://127.0.0.1:{port}/"),
            4,
            serve,
        )
        .await;
        let fetched = fetched.expect("fetched");
        assert_eq!((&*fetched.body, fetched.truncated), (b"0123".as_slice(), true));
    }

    #[tokio::test]
    async fn a_redirect_does_not_lead_past_the_guard() {
        for target in [
            "http://127.0.0.1:1/secret",
            "http://169.254.169.254/",
            "file:///etc/passwd",
            "http://localhost:8099/",
        ] {
            let (port, serve) = server(vec![page("302 Found", &format!("Location: {target}\r\n"), "")]).await;
            let url = format!("http://127.0.0.1:{port}/");
            let refused = fetch_with(&[format!("127.0.0.1:{port}")], &url, 100, serve).await;
            let reason = refused.expect_err(target);
            assert!(
                reason.contains("loopback") || reason.contains("link-local") || reason.contains("only http"),
                "{reason}"
            );
        }
    }

    #[tokio::test]
    async fn redirects_in_a_circle_end() {
        let (port, serve) = server(vec![page("302 Found", "Location: /\r\n", ""); 9]).await;
        let url = format!("http://127.0.0.1:{port}/");
        let refused = fetch_with(&[format!("127.0.0.1:{port}")], &url, 100, serve).await;
        assert!(refused.expect_err("refused").contains("more than 5 redirects"));
    }

    #[tokio::test]
    async fn a_name_that_stands_for_an_inner_address_is_refused() {
        let (port, serve) = server(vec![page("200 OK", "", "secret")]).await;
        let refused = fetch_with(&[], &format!("http://localhost:{port}/"), 100, serve).await;
        let reason = refused.expect_err("refused");
        assert!(reason.contains("loopback"), "{reason}");
        let (port, serve) = server(vec![page("200 OK", "", "open")]).await;
        let allowed = fetch_with(
            &[format!("localhost:{port}")],
            &format!("http://localhost:{port}/"),
            100,
            serve,
        )
        .await;
        assert_eq!(allowed.expect("allowed").body, b"open");
    }

    #[test]
    fn of_mixed_answers_only_the_public_ones_are_connected_to() {
        let answers = |list: &[&str]| {
            list.iter()
                .map(|text| text.parse().expect("address"))
                .collect::<Vec<SocketAddr>>()
        };
        let mixed = answers(&["10.0.0.1:0", "93.184.216.34:0", "[::1]:0"]);
        let judged = judge_answers(Passage::Public, "h", mixed.clone());
        assert_eq!(judged, Ok(answers(&["93.184.216.34:0"])));
        assert_eq!(judge_answers(Passage::Opened, "h", mixed.clone()), Ok(mixed));
        assert!(judge_answers(Passage::Public, "h", answers(&["[::ffff:10.0.0.1]:0"])).is_err());
    }
}
