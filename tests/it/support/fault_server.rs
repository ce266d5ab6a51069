//! A provider on loopback that sends exactly what a test wants, byte by byte when it must be, over HTTP/1.1 or HTTP/2.
//!
//! ```text
//! let server = FaultServer::start(Wire::Http1);
//! server.then([Answer::stream(&events).cut_after(3)]);   // the next request
//! server.always(|asked| Answer::of(asked).dripping());   // every other one: what the offline model says
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use openclaw::domain::conversation::ModelAnswer;
use openclaw::llm::client::Connections;
use openclaw::llm::dialect::kind::Dialect;
use openclaw::llm::dialect::serve::{self, Events};
use openclaw::llm::offline;
use serde_json::Value;

/// How the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1 in the clear.
    Http1,
    /// HTTP/2 over TLS, agreed on by ALPN.
    Http2,
}

/// One act of an answer.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends these bytes as a chunk of their own.
    Send(Bytes),
    /// Sends nothing for a while.
    Wait(Duration),
    /// Sends nothing until the client goes away.
    Hang,
    /// Breaks the connection, or the stream on it.
    Cut,
}

/// What the server does with one request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub acts: Vec<Act>,
    /// Not even a status comes.
    pub hangs_before: bool,
}

impl Answer {
    /// A whole JSON document.
    pub fn whole(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "application/json".into())],
            acts: vec![Act::Send(body.into())],
            hangs_before: false,
        }
    }

    /// A stream, each of these as a chunk of its own.
    pub fn stream<P: AsRef<[u8]>>(pieces: impl IntoIterator<Item = P>) -> Self {
        let sent = pieces
            .into_iter()
            .map(|piece| Act::Send(Bytes::copy_from_slice(piece.as_ref())));
        Self {
            status: 200,
            headers: vec![("content-type", "text/event-stream".into())],
            acts: sent.collect(),
            hangs_before: false,
        }
    }

    /// A refusal.
    pub fn refused(status: u16, headers: &[(&'static str, &str)], body: &str) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        Self {
            status,
            headers,
            ..Self::whole(body.to_owned())
        }
    }

    /// What the offline model answers to this request, in its dialect, as a stream when that was asked for.
    pub fn of(asked: &Asked) -> Self {
        let answer = asked.offline();
        if asked.body["stream"] == true {
            Self::stream(events(asked.dialect, &answer))
        } else {
            Self::whole(document(asked.dialect, &answer))
        }
    }

    /// Nothing at all until the client goes away.
    pub fn silence() -> Self {
        Self {
            hangs_before: true,
            ..Self::whole("")
        }
    }

    /// With another header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Every byte as a chunk of its own.
    #[must_use]
    pub fn dripping(mut self) -> Self {
        let acts = self.acts.into_iter().flat_map(|act| match act {
            Act::Send(bytes) => (0..bytes.len()).map(|at| Act::Send(bytes.slice(at..=at))).collect(),
            other => vec![other],
        });
        self.acts = acts.collect();
        self
    }

    /// Breaks after so many acts.
    #[must_use]
    pub fn cut_after(mut self, acts: usize) -> Self {
        self.acts.truncate(acts);
        self.acts.push(Act::Cut);
        self
    }

    /// Ends in good order after so many acts.
    #[must_use]
    pub fn ended_after(mut self, acts: usize) -> Self {
        self.acts.truncate(acts);
        self
    }

    /// Then waits.
    #[must_use]
    pub fn then_wait(mut self, time: Duration) -> Self {
        self.acts.push(Act::Wait(time));
        self
    }

    /// Then sends these bytes.
    #[must_use]
    pub fn then_send(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.acts.push(Act::Send(Bytes::copy_from_slice(bytes.as_ref())));
        self
    }

    /// Falls silent after so many acts.
    #[must_use]
    pub fn hanging_after(mut self, acts: usize) -> Self {
        self.acts.truncate(acts);
        self.acts.push(Act::Hang);
        self
    }
}

/// The events of an answer as a provider sends them, one piece each.
pub fn events(dialect: Dialect, answer: &ModelAnswer) -> Vec<String> {
    let mut events = Events::new(dialect, "id_1", &answer.answered_by, 1);
    let all = events.begin() + &events.end(answer);
    all.split_inclusive("\n\n").map(str::to_owned).collect()
}

/// An answer as one document.
pub fn document(dialect: Dialect, answer: &ModelAnswer) -> String {
    match dialect {
        Dialect::Anthropic => serve::write_anthropic(answer, "id_1"),
        Dialect::OpenAiChat => serve::write_openai_chat(answer, "id_1", 1),
        Dialect::OpenAiResponses => serve::write_openai_responses(answer, "id_1", 1),
    }
    .to_string()
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The dialect of its path.
    pub dialect: Dialect,
    /// In which version of HTTP.
    pub version: Version,
    /// The headers, with values that are no text left out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Value,
}

impl Asked {
    /// What the offline model answers.
    pub fn offline(&self) -> ModelAnswer {
        let request = match self.dialect {
            Dialect::Anthropic => serve::read_anthropic(&self.body),
            Dialect::OpenAiChat => serve::read_openai_chat(&self.body),
            Dialect::OpenAiResponses => serve::read_openai_responses(&self.body),
        };
        offline::answer(&request.expect("a request that can be read"))
    }
}

type Always = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

#[derive(Default)]
struct Shared {
    next: VecDeque<Answer>,
    always: Option<Always>,
    asked: Vec<Asked>,
    connections: usize,
    abandoned: usize,
}

/// The server; it serves until the test program ends.
#[derive(Clone)]
pub struct FaultServer {
    shared: Arc<(Mutex<Shared>, Condvar)>,
    /// Where it is, without a path.
    pub url: String,
    root: Option<reqwest::Certificate>,
}

impl FaultServer {
    /// Starts it; it answers as the offline model does.
    pub fn start(wire: Wire) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (acceptor, root) = match wire {
            Wire::Http1 => (None, None),
            Wire::Http2 => {
                let (acceptor, root) = tls();
                (Some(acceptor), Some(root))
            }
        };
        let server = Self {
            shared: Arc::default(),
            url: match wire {
                Wire::Http1 => format!("http://{address}"),
                Wire::Http2 => format!("https://{address}"),
            },
            root,
        };
        let serving = server.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime.expect("a runtime"), serving.serve(listener, acceptor));
        });
        server
    }

    /// What it does with the next requests.
    pub fn then(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.0.lock().expect("no panic").next.extend(answers);
    }

    /// What it does with every request that nothing else is said of.
    pub fn always(&self, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) {
        self.shared.0.lock().expect("no panic").always = Some(Arc::new(answer));
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.0.lock().expect("no panic").asked.clone()
    }

    /// The connections so far.
    pub fn connections(&self) -> usize {
        self.shared.0.lock().expect("no panic").connections
    }

    /// Waits until so many answers were left unfinished because the client had gone.
    pub fn wait_abandoned(&self, count: usize) {
        self.wait(
            |shared| shared.abandoned >= count,
            |shared| format!("{} of {count} answers were abandoned", shared.abandoned),
        );
    }

    /// Waits until so many requests have come.
    pub fn wait_asked(&self, count: usize) {
        self.wait(
            |shared| shared.asked.len() >= count,
            |shared| format!("{} of {count} requests came", shared.asked.len()),
        );
    }

    /// Connections that trust it.
    pub fn trusted(&self) -> Connections {
        Connections::trusting(self.root.clone())
    }

    fn wait(&self, is_reached: impl Fn(&Shared) -> bool, describe: impl Fn(&Shared) -> String) {
        let (shared, changed) = &*self.shared;
        let shared = shared.lock().expect("no panic");
        let (shared, waited) = changed
            .wait_timeout_while(shared, Duration::from_secs(30), |shared| !is_reached(shared))
            .expect("no panic");
        assert!(!waited.timed_out(), "{}", describe(&shared));
    }

    async fn serve(self, listener: std::net::TcpListener, acceptor: Option<tokio_rustls::TlsAcceptor>) {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            stream.set_nodelay(true).ok();
            self.shared.0.lock().expect("no panic").connections += 1;
            let (server, acceptor) = (self.clone(), acceptor.clone());
            let service = service_fn(move |request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            tokio::task::spawn_local(async move {
                // A client that goes away is the client's affair.
                match acceptor {
                    None => {
                        let http = hyper::server::conn::http1::Builder::new();
                        http.serve_connection(TokioIo::new(stream), service).await.ok();
                    }
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(stream).await else {
                            return;
                        };
                        let http = hyper::server::conn::http2::Builder::new(Local);
                        http.serve_connection(TokioIo::new(stream), service).await.ok();
                    }
                }
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<StreamBody<BoxStream<'static, Sent>>> {
        let (head, body) = request.into_parts();
        let bytes = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let dialect = match head.uri.path() {
            "/v1/messages" => Dialect::Anthropic,
            "/v1/chat/completions" => Dialect::OpenAiChat,
            "/v1/responses" => Dialect::OpenAiResponses,
            // Proxies look around before they ask.
            _ => {
                let nothing = StreamBody::new(stream::empty().boxed());
                let response = Response::builder().status(404).body(nothing);
                return response.expect("a status that can be sent");
            }
        };
        let headers = head.headers.iter().filter_map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        let asked = Asked {
            dialect,
            version: head.version,
            headers: headers.collect(),
            body: serde_json::from_slice(&bytes).expect("a request is JSON"),
        };
        let (next, always) = {
            let (shared, changed) = &*self.shared;
            let mut shared = shared.lock().expect("no panic");
            shared.asked.push(asked.clone());
            changed.notify_all();
            (shared.next.pop_front(), shared.always.clone())
        };
        let answer = next.unwrap_or_else(|| match always {
            Some(always) => always(&asked),
            None => Answer::of(&asked),
        });
        let guard = Abandoned(self.shared.clone(), false);
        if answer.hangs_before {
            std::future::pending::<()>().await;
        }
        let mut response = Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(*name, value);
        }
        let acts = stream::unfold((VecDeque::from(answer.acts), guard), step).boxed();
        response.body(StreamBody::new(acts)).expect("headers that can be sent")
    }
}

type Sent = Result<Frame<Bytes>, std::io::Error>;

/// Counts an answer that is dropped before its end.
struct Abandoned(Arc<(Mutex<Shared>, Condvar)>, bool);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if !self.1 {
            let (shared, changed) = &*self.0;
            shared.lock().expect("no panic").abandoned += 1;
            changed.notify_all();
        }
    }
}

async fn step((mut acts, mut guard): (VecDeque<Act>, Abandoned)) -> Option<(Sent, (VecDeque<Act>, Abandoned))> {
    // What was sent goes out before anything else is done.
    tokio::task::yield_now().await;
    loop {
        match acts.pop_front() {
            None => {
                guard.1 = true;
                return None;
            }
            Some(Act::Send(bytes)) => return Some((Ok(Frame::data(bytes)), (acts, guard))),
            Some(Act::Wait(time)) => tokio::time::sleep(time).await,
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Cut) => {
                guard.1 = true;
                return Some((Err(std::io::Error::other("cut")), (VecDeque::new(), guard)));
            }
        }
    }
}

/// Runs what a connection of HTTP/2 starts on the thread of the server.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A certificate of its own for the loopback.
fn tls() -> (tokio_rustls::TlsAcceptor, reqwest::Certificate) {
    openclaw::runtime::tls::install_provider();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let der = made.cert.der().clone();
    let root = reqwest::Certificate::from_der(&der).expect("a certificate");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![der], key.into())
        .expect("a key that fits");
    config.alpn_protocols = vec![b"h2".to_vec()];
    (tokio_rustls::TlsAcceptor::from(Arc::new(config)), root)
}
