//! Every fault of a provider on the wire, in every dialect, over HTTP/1.1 and HTTP/2: each ends as what it is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openclaw::domain::conversation::{Message, ModelAnswer, ModelRequest};
use openclaw::domain::failure::FailureClass;
use openclaw::domain::name::ModelAlias;
use openclaw::llm::client::{Connections, RemoteModel, WaitError};
use openclaw::llm::config::{ModelConfig, Provider, Secret};
use openclaw::llm::dialect::failure::ContextExceeded;
use openclaw::llm::dialect::kind::Dialect;
use openclaw::llm::model::{AskError, Asking, Delta, Listener, Model, RateLimits, Spent};

use crate::support::fault_server::{Answer, FaultServer, Wire, events};

const KEY: &str = "sk-canary-77aa";
const BOUND: Duration = Duration::from_secs(30);
/// Short enough to wait for, long enough for a busy machine to send a byte.
const SHORT_MS: u64 = 400;
const PROVIDERS: [Provider; 3] = [Provider::Anthropic, Provider::OpenAiChat, Provider::OpenAiResponses];
const WIRES: [Wire; 2] = [Wire::Http1, Wire::Http2];

#[derive(Default)]
struct Notes {
    deltas: Mutex<Vec<Delta>>,
    limits: Mutex<Option<RateLimits>>,
}

impl Listener for Notes {
    fn delta(&self, delta: Delta) {
        self.deltas.lock().expect("no panic").push(delta);
    }

    fn limits(&self, limits: RateLimits) {
        *self.limits.lock().expect("no panic") = Some(limits);
    }
}

fn config(provider: Provider, server: &FaultServer) -> ModelConfig {
    let mut config = ModelConfig::new(ModelAlias::new("m").expect("valid"), provider, "wire-id");
    config.base_url = Some(format!("{}/v1", server.url).into());
    config.api_key = Secret::new(KEY);
    config
}

fn request() -> ModelRequest {
    ModelRequest {
        model: ModelAlias::new("m").expect("valid"),
        system: "You are x, the coder agent.".into(),
        messages: vec![Message::User("Say something longer about 👩‍🚀 \"quotes\".".into())].into(),
        skills: Vec::new().into(),
        output_schema: None,
        output_tokens_max: 500,
        options: None,
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("runtime").block_on(future)
}

/// Asks once and gives what came, and what was heard of it.
fn ask(config: ModelConfig, connections: Connections) -> (Result<ModelAnswer, AskError>, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let asking = Asking {
        listener: notes.clone(),
        ..Asking::quietly(BOUND)
    };
    let result = block_on(RemoteModel::new(config, connections).ask(request(), asking));
    if let Err(error) = &result {
        assert!(!format!("{error:?} {error}").contains(KEY), "a key is shown: {error:?}");
        let was_heard = !notes.deltas.lock().expect("no panic").is_empty();
        assert_eq!(error.delivered, was_heard, "{error:?}");
    }
    (result, notes)
}

fn text_heard(notes: &Notes) -> String {
    let deltas = notes.deltas.lock().expect("no panic");
    let texts = deltas.iter().filter_map(|delta| match delta {
        Delta::Text(text) => Some(&**text),
        _ => None,
    });
    texts.collect()
}

/// What the server says when nothing goes wrong.
fn good(provider: Provider, connections: &Connections, server: &FaultServer) -> ModelAnswer {
    ask(config(provider, server), connections.clone()).0.expect("an answer")
}

/// For every provider and wire: the events of the good answer.
fn each(check: impl Fn(Provider, &FaultServer, &Connections, &ModelAnswer, &[String])) {
    for wire in WIRES {
        for provider in PROVIDERS {
            let server = FaultServer::start(wire);
            let connections = server.trusted();
            let answer = good(provider, &connections, &server);
            let events = events(Dialect::of(provider).expect("remote"), &answer);
            check(provider, &server, &connections, &answer, &events);
        }
    }
}

#[test]
fn an_answer_is_the_same_whole_streamed_and_byte_by_byte() {
    each(|provider, server, connections, answer, _| {
        server.always(|asked| Answer::of(asked).dripping());
        let (dripped, notes) = ask(config(provider, server), connections.clone());
        assert_eq!(&dripped.expect("an answer"), answer, "{provider:?} dripping");
        assert_eq!(text_heard(&notes), *answer.text);
        let mut whole = config(provider, server);
        whole.stream = false;
        let (read, notes) = ask(whole, connections.clone());
        assert_eq!(&read.expect("an answer"), answer, "{provider:?} whole");
        assert_eq!(text_heard(&notes), *answer.text, "a whole answer is heard, too");
        let asked = server.asked();
        assert_eq!(asked[1].body["stream"], true);
        assert_eq!(asked[2].body.get("stream"), None);
        let expected = if server.url.starts_with("https") {
            hyper::Version::HTTP_2
        } else {
            hyper::Version::HTTP_11
        };
        assert!(asked.iter().all(|asked| asked.version == expected), "{expected:?}");
        let is_key = |(_, value): &(String, String)| value == KEY || value == &format!("Bearer {KEY}");
        assert!(asked.iter().all(|asked| asked.headers.iter().any(is_key)));
    });
}

#[test]
fn a_stream_cut_after_any_event_is_a_transport_error_and_never_half_an_answer() {
    each(|provider, server, connections, answer, events| {
        for cut in 0..events.len() {
            for is_clean in [false, true] {
                let sent = Answer::stream(events);
                server.then([if is_clean {
                    sent.ended_after(cut)
                } else {
                    sent.cut_after(cut)
                }]);
                let (result, notes) = ask(config(provider, server), connections.clone());
                let told = format!("{provider:?} cut after {cut} of {}, clean: {is_clean}", events.len());
                match result {
                    Err(error) => {
                        let found = (error.class, error.spent);
                        assert_eq!(found, (FailureClass::Transport, Spent::Unknown), "{told}: {error:?}");
                    }
                    // Chat has said why it finished, and only usage was still to come.
                    Ok(found) => {
                        assert!(
                            provider == Provider::OpenAiChat && is_clean && cut + 2 >= events.len(),
                            "{told}"
                        );
                        assert_eq!((&found.text, &found.calls), (&answer.text, &answer.calls), "{told}");
                    }
                }
                assert!(answer.text.starts_with(&text_heard(&notes)), "{told}");
            }
        }
    });
}

#[test]
fn a_short_stream_cut_after_any_byte_is_a_transport_error() {
    for provider in PROVIDERS {
        let server = FaultServer::start(Wire::Http1);
        let connections = server.trusted();
        let mut answer = good(provider, &connections, &server);
        answer.text = "hi 😀".into();
        let stream = events(Dialect::of(provider).expect("remote"), &answer).concat();
        for cut in 0..stream.len() {
            server.then([Answer::stream([&stream.as_bytes()[..cut]]).cut_after(1)]);
            let (result, _) = ask(config(provider, &server), connections.clone());
            // What follows the closing event need not come.
            match result {
                Err(error) => assert_eq!(error.class, FailureClass::Transport, "{provider:?} at {cut}: {error:?}"),
                Ok(found) => {
                    let is_done = cut + 3 >= stream.len();
                    assert!(
                        is_done && found.text == answer.text,
                        "{provider:?} at {cut} of {}",
                        stream.len()
                    );
                }
            }
        }
    }
}

#[test]
fn every_status_is_its_class_with_and_without_headers() {
    use FailureClass as C;
    type Headers = &'static [(&'static str, &'static str)];
    /// Status, headers and body; class, wish to wait, and cost.
    type Case = (u16, Headers, &'static str, C, Option<u64>, Spent);
    const LATER: Headers = &[("retry-after", "7")];
    const LATER_MS: Headers = &[("retry-after-ms", "250"), ("retry-after", "7")];
    const NO: Headers = &[("x-should-retry", "false")];
    const YES: Headers = &[("x-should-retry", "true")];
    const CASES: &[Case] = &[
        (429, &[], "", C::Rate, None, Spent::Nothing),
        (
            429,
            LATER,
            "{\"error\":{\"message\":\"slow down\"}}",
            C::Rate,
            Some(7_000),
            Spent::Nothing,
        ),
        (429, LATER_MS, "", C::Rate, Some(250), Spent::Nothing),
        (429, NO, "", C::Budget, None, Spent::Nothing),
        (
            429,
            &[],
            "{\"error\":{\"code\":\"insufficient_quota\",\"message\":\"pay\"}}",
            C::Budget,
            None,
            Spent::Nothing,
        ),
        (
            400,
            &[],
            "{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"Your credit balance is too low\"}}",
            C::Budget,
            None,
            Spent::Nothing,
        ),
        (
            400,
            &[],
            "{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"no\"}}",
            C::Config,
            None,
            Spent::Nothing,
        ),
        (409, &[], "", C::Overload, None, Spent::Nothing),
        (400, YES, "", C::Overload, None, Spent::Nothing),
        (500, &[], "<html>broken</html>", C::Overload, None, Spent::Unknown),
        (500, NO, "", C::Config, None, Spent::Unknown),
        (503, LATER, "", C::Overload, Some(7_000), Spent::Unknown),
        (
            529,
            &[],
            "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}",
            C::Overload,
            None,
            Spent::Nothing,
        ),
        (502, &[], "", C::Transport, None, Spent::Unknown),
        (504, &[], "", C::Timeout, None, Spent::Unknown),
    ];
    each(|provider, server, connections, _, _| {
        for (status, headers, body, class, retry_after_ms, spent) in CASES {
            server.then([Answer::refused(*status, headers, body)]);
            let error = ask(config(provider, server), connections.clone())
                .0
                .expect_err("refused");
            assert_eq!(
                (error.class, error.retry_after_ms, error.spent),
                (*class, *retry_after_ms, *spent),
                "{provider:?} {status} {headers:?} {body}: {error:?}"
            );
        }
        let body = "{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 9 > 8\"}}";
        server.then([Answer::refused(400, &[], body), Answer::refused(413, &[], "")]);
        for _ in 0..2 {
            let error = ask(config(provider, server), connections.clone())
                .0
                .expect_err("refused");
            assert!(ContextExceeded::is_cause_of(&error), "{error:?}");
            assert_eq!(error.class, FailureClass::Config);
        }
    });
}

#[test]
fn each_wait_ends_with_its_own_reason_and_the_request_with_it() {
    each(|provider, server, connections, _, events| {
        let check = |answer: Answer, change: fn(&mut ModelConfig), expected: WaitError, text: &str| {
            server.then([answer.clone()]);
            let mut config = config(provider, server);
            change(&mut config);
            let (result, notes) = ask(config, connections.clone());
            let error = result.expect_err("late");
            let found = (error.class, error.spent, WaitError::of(&error));
            let told = format!("{provider:?} {answer:?}: {error:?}");
            assert_eq!(found, (FailureClass::Timeout, Spent::Unknown, Some(expected)), "{told}");
            assert_eq!(!text_heard(&notes).is_empty(), error.delivered, "{told}");
            assert!(error.to_string().contains(text), "{told}");
        };
        let first: fn(&mut ModelConfig) = |config| config.timeouts.first_byte_ms = SHORT_MS;
        let idle: fn(&mut ModelConfig) = |config| config.timeouts.idle_ms = SHORT_MS;
        let total: fn(&mut ModelConfig) = |config| config.timeouts.total_ms = SHORT_MS;
        let none = Answer::stream(events).hanging_after(0);
        let half = Answer::stream(events).hanging_after(events.len() - 3);
        check(
            Answer::silence(),
            first,
            WaitError::FirstByte { ms: SHORT_MS },
            "sent nothing within 400 ms",
        );
        check(
            none,
            first,
            WaitError::FirstByte { ms: SHORT_MS },
            "sent nothing within 400 ms",
        );
        check(
            half.clone(),
            idle,
            WaitError::Idle { ms: SHORT_MS },
            "fell silent for 400 ms",
        );
        check(
            half,
            total,
            WaitError::Total { ms: SHORT_MS },
            "did not answer within 400 ms",
        );
        server.wait_abandoned(4);
    });
}

#[test]
fn pings_and_comments_are_life_and_the_total_ends_even_them() {
    let server = FaultServer::start(Wire::Http1);
    let answer = good(Provider::Anthropic, &server.trusted(), &server);
    let events = events(Dialect::Anthropic, &answer);
    let living = |times: usize| {
        let mut sent = Answer::stream(&events[..2]);
        for _ in 0..times {
            sent = sent
                .then_wait(Duration::from_millis(SHORT_MS / 4))
                .then_send(": alive\n\n");
        }
        for event in &events[2..] {
            sent = sent.then_send(event);
        }
        sent
    };
    let mut patient = config(Provider::Anthropic, &server);
    patient.timeouts.idle_ms = SHORT_MS;
    server.then([living(8), living(1000)]);
    let read = ask(patient.clone(), server.trusted())
        .0
        .expect("an answer after twice the idle time");
    assert_eq!(read, answer);
    patient.timeouts.total_ms = 2 * SHORT_MS;
    let error = ask(patient, server.trusted()).0.expect_err("late");
    assert_eq!(WaitError::of(&error), Some(WaitError::Total { ms: 2 * SHORT_MS }));
}

#[test]
fn garbage_and_what_is_too_large_are_malformed_or_broken_and_bounded() {
    each(|provider, server, connections, _, events| {
        let check = |answer: Answer, class: FailureClass| {
            server.then([answer]);
            let error = ask(config(provider, server), connections.clone())
                .0
                .expect_err("garbage");
            assert_eq!(
                (error.class, error.spent),
                (class, Spent::Unknown),
                "{provider:?}: {error:?}"
            );
        };
        check(Answer::whole("<html>nothing here</html>"), FailureClass::Malformed);
        check(Answer::whole("{\"half\":"), FailureClass::Malformed);
        check(Answer::whole("I am no JSON"), FailureClass::Malformed);
        check(Answer::whole(""), FailureClass::Transport);
        check(Answer::stream(["data: {\"choices\":[}\n\n"]), FailureClass::Malformed);
        check(Answer::stream([&b"\xff\xfe\x00\n\n\xff"[..]]), FailureClass::Transport);
        check(Answer::stream(["hello\n\n"]), FailureClass::Transport);
        let line = "x".repeat(1 << 20);
        let long = ["data: ".to_owned(), line.clone(), line.clone()];
        check(Answer::stream(long), FailureClass::Malformed);
        let huge = std::iter::repeat_n(format!("data: {}\n", &line[..1_000_000]), 5);
        check(Answer::stream(huge), FailureClass::Malformed);
        let mut broken: Vec<String> = events.to_vec();
        broken.truncate(2);
        broken.push("data: {\"type\": nonsense}\n\n".into());
        check(Answer::stream(&broken), FailureClass::Malformed);
    });
}

#[test]
fn events_of_the_future_and_bytes_that_are_no_text_do_not_lose_an_answer() {
    each(|provider, server, connections, answer, events| {
        let mut sent: Vec<Vec<u8>> = vec![b"\xef\xbb\xbf: hello\r\n\r\n".to_vec()];
        for event in events {
            sent.push(b"event: weather\ndata: {\"type\":\"weather\",\"sky\":\"\xff\"}\n\n".to_vec());
            sent.push(event.replace('\n', "\r\n").into_bytes());
        }
        server.then([Answer::stream(&sent)]);
        let (read, _) = ask(config(provider, server), connections.clone());
        assert_eq!(&read.expect("an answer"), answer, "{provider:?}");
    });
}

#[test]
fn a_dropped_request_is_cancelled_on_the_wire() {
    each(|provider, server, connections, _, events| {
        for answer in [Answer::silence(), Answer::stream(events).hanging_after(3)] {
            let before = server.asked().len();
            server.then([answer]);
            let model = RemoteModel::new(config(provider, server), connections.clone());
            block_on(async {
                let mut asking = model.ask(request(), Asking::quietly(BOUND));
                let came = {
                    let server = server.clone();
                    tokio::task::spawn_blocking(move || server.wait_asked(before + 1))
                };
                tokio::select! {
                    came = came => came.expect("asked"),
                    answer = &mut asking => panic!("{answer:?}"),
                }
                drop(asking);
                let (server, count) = (server.clone(), before);
                // The runtime goes on, as the daemon's does: a shared connection has to say that one request ended.
                tokio::task::spawn_blocking(move || server.wait_abandoned(count))
                    .await
                    .expect("abandoned");
            });
        }
    });
}

#[test]
fn limits_are_heard_before_the_answer_and_with_a_refusal() {
    let server = FaultServer::start(Wire::Http1);
    let limited = |answer: Answer| {
        answer
            .with("x-ratelimit-limit-requests", "60")
            .with("x-ratelimit-remaining-requests", "0")
            .with("x-ratelimit-reset-requests", "1m30s")
    };
    server.then([limited(Answer::refused(429, &[], "{}"))]);
    server.always(move |asked| limited(Answer::of(asked)));
    for is_good in [false, true] {
        let (result, notes) = ask(config(Provider::OpenAiChat, &server), Connections::new());
        assert_eq!(result.is_ok(), is_good);
        let limits = notes.limits.lock().expect("no panic").expect("limits were heard");
        let requests = limits.requests.expect("of requests");
        assert_eq!((requests.limit, requests.remaining, requests.reset_ms), (60, 0, 90_000));
    }
}

#[test]
fn requests_share_a_connection() {
    for (wire, connections) in [(Wire::Http1, 1), (Wire::Http2, 1)] {
        let server = FaultServer::start(wire);
        let model = RemoteModel::new(config(Provider::OpenAiChat, &server), server.trusted());
        block_on(async {
            for _ in 0..5 {
                model.ask(request(), Asking::quietly(BOUND)).await.expect("an answer");
            }
        });
        assert_eq!(server.connections(), connections, "{wire:?}");
    }
}

#[test]
fn nobody_there_and_nobody_answering_cost_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let server = FaultServer::start(Wire::Http1);
    let mut gone = config(Provider::OpenAiChat, &server);
    gone.base_url = Some(url.into());
    let error = ask(gone, Connections::new()).0.expect_err("gone");
    assert_eq!((error.class, error.spent), (FailureClass::Transport, Spent::Nothing));
}
