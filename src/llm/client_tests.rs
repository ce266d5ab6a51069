//! Remote models against a server on the loopback that says exactly what a test wants.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use crate::domain::conversation::{Message, ModelAnswer, ModelRequest};
use crate::domain::failure::FailureClass;
use crate::domain::name::ModelAlias;

use super::client::{BODY_BYTES_MAX, Connections, RemoteModel};
use super::config::{ModelConfig, Provider, Secret};
use super::model::{AskError, Asking, Model, Spent};

const KEY: &str = "sk-test-do-not-show";
const BOUND: Duration = Duration::from_secs(20);

/// Reads one request: head and body.
fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length:").map(str::to_owned))
                .and_then(|length| length.trim().parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        let count = stream.read(&mut chunk).expect("request");
        assert!(count > 0, "the client went away: {text}");
        bytes.extend_from_slice(&chunk[..count]);
    }
}

/// A server for one connection: reads a request, then does what is wanted. Gives its address and what it heard.
fn serve(act: impl FnOnce(&mut TcpStream) + Send + 'static) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let (heard, hearing) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("connection");
        let request = read_request(&mut stream);
        heard.send(request).expect("the test waits");
        act(&mut stream);
        heard.send("done".into()).ok();
    });
    (address, hearing)
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
}

fn config(provider: Provider, url: &str) -> ModelConfig {
    let mut config = ModelConfig::new(ModelAlias::new("m").expect("valid"), provider, "wire-id");
    config.base_url = Some(url.into());
    config.api_key = Secret::new(KEY);
    config
}

fn request() -> ModelRequest {
    ModelRequest {
        model: ModelAlias::new("m").expect("valid"),
        system: "You are x, the coder agent.".into(),
        messages: vec![Message::User("task".into())].into(),
        skills: Vec::new().into(),
        output_schema: None,
        output_tokens_max: 10,
        options: None,
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(future)
}

fn ask(config: ModelConfig, deadline: Duration) -> Result<ModelAnswer, AskError> {
    let model = RemoteModel::new(config, Connections::new());
    let result = block_on(async { model.ask(request(), Asking::quietly(deadline)).await });
    if let Err(error) = &result {
        let mut shown = format!("{error:?} {error}");
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            shown.push_str(&cause.to_string());
            source = cause.source();
        }
        assert!(!shown.contains(KEY), "a key is shown: {shown}");
    }
    result
}

const GOOD_OPENAI: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
const GOOD_ANTHROPIC: &str =
    r#"{"type":"message","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":3,"output_tokens":1}}"#;

#[test]
fn each_dialect_is_asked_at_its_place_with_its_key() {
    let check = |provider: Provider, path: &str, body: &'static str, lines: &[&str], head: &str| {
        let (url, heard) = serve(move |stream| {
            stream.write_all(reply("200 OK", "", body).as_bytes()).expect("written");
        });
        let answer = ask(config(provider, &format!("{url}{path}")), BOUND).expect("answer");
        assert_eq!((&*answer.text, &*answer.answered_by), ("hi", "wire-id"));
        let request = heard.recv_timeout(BOUND).expect("heard");
        assert!(request.starts_with(head), "{request}");
        for line in lines {
            assert!(request.to_lowercase().contains(line), "{line} in {request}");
        }
    };
    check(
        Provider::OpenAiChat,
        "/v1/",
        GOOD_OPENAI,
        &[
            "authorization: bearer sk-test",
            "content-type: application/json",
            "\"max_tokens\":10",
        ],
        "POST /v1/chat/completions HTTP/1.1",
    );
    for path in ["", "/v1"] {
        check(
            Provider::Anthropic,
            path,
            GOOD_ANTHROPIC,
            &["x-api-key: sk-test", "anthropic-version: 2023-06-01"],
            "POST /v1/messages HTTP/1.1",
        );
    }
}

#[test]
fn every_status_has_its_class_and_its_price() {
    use FailureClass as C;
    use Spent::{Nothing, Unknown};

    let check = |status: &'static str, headers: &'static str, body: &'static str, class, retry, spent| {
        let (url, _heard) = serve(move |stream| {
            stream
                .write_all(reply(status, headers, body).as_bytes())
                .expect("written");
        });
        let error = ask(config(Provider::Anthropic, &url), BOUND).expect_err("refused");
        assert_eq!(
            (error.class, error.retry_after_ms, error.spent),
            (class, retry, spent),
            "{status}: {error}"
        );
    };
    check("429 Too Many", "retry-after: 3\r\n", "", C::Rate, Some(3000), Nothing);
    check(
        "429 Too Many",
        "retry-after-ms: 70\r\n",
        "{}",
        C::Rate,
        Some(70),
        Nothing,
    );
    check(
        "529 Overloaded",
        "",
        r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
        C::Overload,
        None,
        Nothing,
    );
    check("500 Oops", "", "<html>", C::Overload, None, Unknown);
    check("502 Bad", "", "", C::Transport, None, Unknown);
    check("503 No", "retry-after: 1\r\n", "", C::Overload, Some(1000), Unknown);
    check("504 Late", "", "", C::Timeout, None, Unknown);
    check("408 Late", "", "", C::Timeout, None, Unknown);
    check(
        "400 Bad",
        "",
        r#"{"error":{"type":"invalid_request_error","message":"no"}}"#,
        C::Config,
        None,
        Nothing,
    );
    check(
        "400 Bad",
        "",
        r#"{"error":{"type":"billing_error","message":"pay"}}"#,
        C::Budget,
        None,
        Nothing,
    );
    check(
        "401 Who",
        "",
        r#"{"error":{"message":"bad key sk-test-do-not-show"}}"#,
        C::Config,
        None,
        Nothing,
    );
    check("404 None", "", "", C::Config, None, Nothing);
    check("413 Big", "", "", C::Config, None, Nothing);
    check(
        "302 Found",
        "location: http://127.0.0.1:1/\r\n",
        "",
        C::Config,
        None,
        Nothing,
    );
    check("200 OK", "", "{\"half\":", C::Malformed, None, Unknown);
}

#[test]
fn a_wrong_key_names_its_variable() {
    let (url, _heard) = serve(|stream| {
        stream.write_all(reply("401 Who", "", "").as_bytes()).expect("written");
    });
    let error = ask(config(Provider::Anthropic, &url), BOUND).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "model `m` answered with status 401; the key is read from ANTHROPIC_API_KEY"
    );
    let mut missing = config(Provider::OpenAiChat, "https://api.openai.com/v1");
    missing.api_key = None;
    let error = ask(missing, BOUND).expect_err("refused");
    assert_eq!(error.class, FailureClass::Config);
    assert_eq!(error.to_string(), "model `m` has no key: set OPENAI_API_KEY");
}

#[test]
fn a_used_up_quota_is_not_a_rate() {
    let body = r#"{"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let (url, _heard) = serve(move |stream| {
        stream.write_all(reply("429 No", "", body).as_bytes()).expect("written");
    });
    let error = ask(config(Provider::OpenAiChat, &url), BOUND).expect_err("refused");
    assert_eq!(error.class, FailureClass::Budget);
}

#[test]
fn nobody_there_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let error = ask(config(Provider::OpenAiChat, &url), BOUND).expect_err("refused");
    assert_eq!(
        (error.class, error.spent),
        (FailureClass::Transport, Spent::Nothing),
        "{error:?}"
    );
    assert!(error.source.is_some());
}

#[test]
fn a_broken_connection_may_have_cost_something() {
    let check = |sent: &'static str| {
        let (url, _heard) = serve(move |stream| stream.write_all(sent.as_bytes()).expect("written"));
        let error = ask(config(Provider::OpenAiChat, &url), BOUND).expect_err("broken");
        assert_eq!(
            (error.class, error.spent),
            (FailureClass::Transport, Spent::Unknown),
            "{error:?}"
        );
    };
    check("");
    check("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"choices\"");
}

#[test]
fn silence_ends_at_the_deadline_and_the_request_with_it() {
    let (url, heard) = serve(|stream| {
        // Ends when the client closes: nothing is ever sent.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).ok();
    });
    let error = ask(config(Provider::OpenAiChat, &url), Duration::from_millis(200)).expect_err("late");
    assert_eq!((error.class, error.spent), (FailureClass::Timeout, Spent::Unknown));
    assert_eq!(error.to_string(), "model `m` did not answer within 200 ms");
    heard.recv_timeout(BOUND).expect("the request came");
    assert_eq!(
        heard.recv_timeout(BOUND).as_deref(),
        Ok("done"),
        "the connection was closed"
    );
}

#[test]
fn a_dropped_future_closes_the_connection() {
    let (url, heard) = serve(|stream| {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).ok();
    });
    let model = RemoteModel::new(config(Provider::OpenAiChat, &url), Connections::new());
    block_on(async {
        let mut asking = model.ask(request(), Asking::quietly(BOUND));
        // Polled until the server has the request, then dropped.
        let came = tokio::task::spawn_blocking(move || {
            heard.recv_timeout(BOUND).expect("the request came");
            heard
        });
        let heard = tokio::select! {
            heard = came => heard.expect("heard"),
            answer = &mut asking => panic!("{answer:?}"),
        };
        drop(asking);
        let end = tokio::task::spawn_blocking(move || heard.recv_timeout(BOUND));
        assert_eq!(end.await.expect("joined").as_deref(), Ok("done"));
    });
}

#[test]
fn an_answer_without_end_is_refused_at_the_bound() {
    let (url, _heard) = serve(|stream| {
        let chunk = vec![b' '; 64 * 1024];
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
            .expect("head");
        for _ in 0..=BODY_BYTES_MAX / chunk.len() + 64 {
            if stream.write_all(&chunk).is_err() {
                return;
            }
        }
    });
    let error = ask(config(Provider::OpenAiChat, &url), BOUND).expect_err("refused");
    assert_eq!((error.class, error.spent), (FailureClass::Malformed, Spent::Unknown));
    assert!(error.to_string().contains("more than 8388608 bytes"), "{error}");
}

#[test]
fn bytes_that_are_no_text_do_not_lose_the_answer() {
    let (url, _heard) = serve(|stream| {
        let mut body = b"\xef\xbb\xbf{\"choices\":[{\"message\":{\"content\":\"a".to_vec();
        body.extend_from_slice(b"\xff\xfe");
        body.extend_from_slice(b"b\"}}]}");
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("head");
        stream.write_all(&body).expect("body");
    });
    let answer = ask(config(Provider::OpenAiChat, &url), BOUND).expect("answer");
    assert_eq!(&*answer.text, "a\u{fffd}\u{fffd}b");
    assert!(answer.usage.estimated);
}
