//! One connection of a program: its pass, then HTTP as proxies speak it.
//!
//! `CONNECT` is a tunnel to a host that the pass names; a request with a whole URL is made here, by which secrets can
//! be added. Invariant: what is connected to is the very address that was judged.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use reqwest::Url;
use reqwest::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::door::{Egress, Guest};
use crate::domain::fault::in_one_line;
use crate::skills::fetch::{check_peer, judge_answers};
use crate::skills::network::{Passage, parse_host_port};

/// Time for the pass, and for a request's head.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Bytes of the pass with its end of line.
const PASS_BYTES_MAX: u64 = 64;
/// Time to connect.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Time of a whole request that is made here.
const ANSWER_MAX: Duration = Duration::from_secs(600);

type Answer = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

/// A tunnel that was agreed on and begins when the answer is out.
type Tunnel = Arc<Mutex<Option<(OnUpgrade, TcpStream)>>>;

/// Serves one connection to its end, or to the end of its pass.
pub(super) async fn serve(stream: UnixStream, egress: Egress) {
    let mut stream = BufReader::new(stream);
    let mut word = String::new();
    let mut bounded = (&mut stream).take(PASS_BYTES_MAX);
    match timeout(HEAD_MAX, bounded.read_line(&mut word)).await {
        Ok(Ok(_)) => {}
        _ => return,
    }
    let Some(guest) = egress.guest(word.trim_end()) else {
        tracing::warn!("a connection to the proxy without a pass was closed");
        return;
    };
    let mut present = guest.present.clone();
    let tunnel = Tunnel::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (egress, guest, tunnel) = (&egress, &guest, &tunnel);
        async move {
            let answered = if request.method() == Method::CONNECT {
                connect(request, egress, guest, tunnel).await
            } else {
                forward(request, egress, guest).await
            };
            Ok::<_, Infallible>(answered.unwrap_or_else(|(status, reason)| refusal(status, reason)))
        }
    });
    let talk = async {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the proxy ended early");
        }
        let agreed = tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((inner, mut outer)) = agreed
            && let Ok(inner) = inner.await
        {
            // Broken tunnels are the two ends' to notice.
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(inner), &mut outer).await;
        }
    };
    tokio::select! {
        () = talk => {}
        // Nothing is ever sent: this is the end of the sender, and with it of the program.
        _ = present.changed() => {}
    }
}

/// Why a request is not carried out.
type Refused = (StatusCode, String);

async fn connect(
    request: Request<Incoming>,
    egress: &Egress,
    guest: &Guest,
    tunnel: &Tunnel,
) -> Result<Answer, Refused> {
    let bad = || (StatusCode::BAD_REQUEST, "CONNECT wants host:port".to_owned());
    let target = request.uri().authority().map(ToString::to_string).ok_or_else(bad)?;
    let (host, port) = parse_host_port(&target).ok_or_else(bad)?;
    let passage = judge(egress, guest, &host, port)?;
    let outer = open(&host, port, passage).await?;
    let inner = hyper::upgrade::on(request);
    *tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some((inner, outer));
    Ok(Response::new(whole(Bytes::new())))
}

/// Connects to an address that was judged.
async fn open(host: &str, port: u16, passage: Passage) -> Result<TcpStream, Refused> {
    let unreachable = |error: std::io::Error| (StatusCode::BAD_GATEWAY, format!("{host}:{port}: {error}"));
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let reach = async {
        let found = tokio::net::lookup_host((name, port)).await.map_err(unreachable)?;
        let judged = judge_answers(passage, host, found.collect()).map_err(|reason| (StatusCode::FORBIDDEN, reason))?;
        TcpStream::connect(judged.as_slice()).await.map_err(unreachable)
    };
    let late = || (StatusCode::GATEWAY_TIMEOUT, format!("{host}:{port} does not answer"));
    timeout(CONNECT_MAX, reach).await.map_err(|_| late())?
}

fn judge(egress: &Egress, guest: &Guest, host: &str, port: u16) -> Result<Passage, Refused> {
    let refuse = |reason: String| {
        tracing::info!(%host, port, %reason, "a program was refused a host");
        (StatusCode::FORBIDDEN, reason)
    };
    if !guest.allowed.has(host, port) {
        return Err(refuse(format!(
            "{host}:{port} is not among the hosts that this program may reach"
        )));
    }
    egress.policy().passage(host, port).map_err(refuse)
}

async fn forward(request: Request<Incoming>, egress: &Egress, guest: &Guest) -> Result<Answer, Refused> {
    let (head, body) = request.into_parts();
    let bad = |what: &str| (StatusCode::BAD_REQUEST, what.to_owned());
    let asked = Url::parse(&head.uri.to_string()).ok().filter(Url::has_host);
    let asked = asked.ok_or_else(|| bad("this is a proxy: it wants a whole URL"))?;
    if asked.scheme() != "http" {
        return Err(bad("https goes through CONNECT"));
    }
    let secret = egress
        .secrets()
        .iter()
        .filter(|secret| guest.secrets.contains(secret.name()))
        .find_map(|secret| Some((secret.address_of(&asked)?, secret)));
    let (url, secret) = secret.map_or((asked, None), |(url, secret)| (url, Some(secret)));
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(bad("the URL has no host"));
    };
    let passage = judge(egress, guest, host, port)?;
    let mut headers = head.headers;
    for name in hop_by_hop(&headers) {
        headers.remove(name);
    }
    // Of the URL, which was judged, and not of what the program says.
    headers.remove(HOST);
    if let Some(secret) = secret {
        let (name, value) = secret.header();
        headers.insert(name, value);
    }
    let client = egress
        .fetcher()
        .client(passage)
        .map_err(|stop| (StatusCode::BAD_GATEWAY, format!("{stop:?}")))?;
    let mut asking = client.request(head.method, url).headers(headers).timeout(ANSWER_MAX);
    if !body.is_end_stream() {
        asking = asking.body(reqwest::Body::wrap(body));
    }
    let answered = asking.send().await;
    let answered = answered.map_err(|error| (StatusCode::BAD_GATEWAY, in_one_line(&error.without_url())))?;
    check_peer(passage, &answered).map_err(|reason| (StatusCode::FORBIDDEN, reason))?;
    let mut headers = answered.headers().clone();
    for name in hop_by_hop(&headers) {
        headers.remove(name);
    }
    let status = answered.status();
    let pieces = answered
        .bytes_stream()
        .map_ok(Frame::data)
        .map_err(std::io::Error::other);
    let mut answer = Response::new(StreamBody::new(pieces).boxed_unsync());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

/// The headers that hold for one connection only: the standard's list, and what `Connection` names.
///
/// **Source**: RFC 9110, section 7.6.1.
fn hop_by_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    let named = headers.get_all(CONNECTION).into_iter();
    let named = named
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let named = named.filter_map(|name| name.trim().parse().ok());
    let fixed = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    named.chain(fixed.map(HeaderName::from_static)).collect()
}

fn refusal(status: StatusCode, reason: String) -> Answer {
    let mut answer = Response::new(whole(format!("openclaw: {reason}\n").into()));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

fn whole(bytes: Bytes) -> UnsyncBoxBody<Bytes, std::io::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
