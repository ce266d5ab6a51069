//! Addresses that serve over Streamable HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::{StreamExt, stream};
use openclaw::domain::name::SkillName;
use openclaw::skills::mcp::config::{Hidden, McpServer, Way};
use openclaw::skills::skill::SkillError;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::stage::{LONG, Stage, program};
use crate::process::block_on;
use crate::support::wait::until_async;

/// The revision without a handshake.
const STATELESS: &str = "2026-07-28";

#[derive(Default)]
struct Seen {
    unauthorised: AtomicUsize,
}

async fn answer(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: String) -> Response {
    if headers
        .get(header::AUTHORIZATION)
        .is_none_or(|value| value != "Bearer token")
    {
        seen.unauthorised.fetch_add(1, Ordering::Relaxed);
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let request: Value = serde_json::from_str(&body).expect("JSON");
    let result = match request["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "h", "version": "1"},
        }),
        "tools/list" => json!({"tools": [
            {"name": "add", "inputSchema": {"type": "object"}},
            {"name": "away", "inputSchema": {"type": "object"}},
            {"name": "unwanted", "inputSchema": {"type": "object"}},
        ]}),
        "tools/call" if request["params"]["arguments"]["status"].is_u64() => {
            let status = request["params"]["arguments"]["status"].as_u64().unwrap_or_default();
            let status = StatusCode::from_u16(status as u16).expect("a status");
            let challenge = "Bearer realm=\"r\"";
            return (status, [(header::WWW_AUTHENTICATE, challenge)], "words").into_response();
        }
        "tools/call" if request["params"]["name"] == "away" => {
            return (
                StatusCode::TEMPORARY_REDIRECT,
                [(header::LOCATION, "http://127.0.0.1:1/")],
            )
                .into_response();
        }
        "tools/call" => json!({"content": [{"type": "text", "text": request["params"]["arguments"].to_string()}]}),
        _ if request.get("id").is_none() => return StatusCode::ACCEPTED.into_response(),
        _ => {
            let error = json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "no"}});
            return json_response(&error);
        }
    };
    json_response(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
}

fn json_response(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn server(folder: &std::path::Path, address: &str, token: &str) -> McpServer {
    let mut server = program("web", "", "", folder);
    server.way = Way::Http {
        url: format!("http://{address}/mcp"),
        bearer: Some(Hidden(token.to_owned())),
    };
    server.tools = Some(["add".to_owned(), "away".to_owned()].into());
    server
}

#[test]
fn tools_of_an_address_are_skills_and_a_redirect_is_not_followed() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("address").to_string();
        let seen = Arc::new(Seen::default());
        let router = Router::new().route("/mcp", post(answer)).with_state(seen.clone());
        let serving = axum::serve(listener, router);
        let test = async {
            let stage = Stage::start(|folder| vec![server(folder, &address, "token")]).await;
            stage.until(0, "ready").await;
            assert_eq!(
                stage.skills(),
                ["mcp.web.add", "mcp.web.away"],
                "only what the operator takes"
            );
            let end = stage.call("mcp.web.add", json!({"a": 1})).await.expect("an end");
            assert_eq!(&*end.outcome.content, "{\"a\":1}");
            let away = stage
                .call_within("mcp.web.away", json!({}), Duration::from_secs(5))
                .await;
            let away = away.expect("it was refused before anything was done").outcome;
            assert!(away.is_error && away.content.contains("HTTP 307"), "{away:?}");
            for (status, refuses) in [
                (400, true),
                (401, true),
                (403, true),
                (404, true),
                (429, true),
                (500, false),
                (502, false),
            ] {
                match stage.call("mcp.web.add", json!({"status": status})).await {
                    Ok(end) => {
                        let said = end.outcome.content.to_string();
                        let wanted = format!("the server refused: HTTP {status}");
                        assert!(
                            refuses && end.outcome.is_error && said.starts_with(&wanted),
                            "{status}: {said}"
                        );
                    }
                    Err(lost) => {
                        assert!(
                            !refuses && matches!(lost, SkillError::ServerLost { .. }),
                            "{status}: {lost}"
                        );
                        assert!(
                            !lost.to_string().contains("rmcp"),
                            "it names no types of a library: {lost}"
                        );
                    }
                }
            }
            let needs = stage
                .catalogue
                .load()
                .get(&SkillName::new("mcp.web.add").expect("name"))
                .expect("there");
            let needs = needs.needs(&json!({}), stage.folder());
            assert_eq!(
                needs.iter().map(ToString::to_string).collect::<Vec<_>>(),
                [format!("net:{address}")]
            );
            stage.stop().await;
            let refused = Stage::start(|folder| vec![server(folder, &address, "wrong")]).await;
            refused.until(0, "failed").await;
            assert!(seen.unauthorised.load(Ordering::Relaxed) > 0);
            refused.stop().await;
        };
        tokio::select! {
            served = serving.into_future() => panic!("{served:?}"),
            done = tokio::time::timeout(LONG * 2, test) => done.expect("in time"),
        }
    });
}

#[test]
fn an_address_where_nobody_listens_is_tried_again_and_its_calls_were_never_made() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("address").to_string();
        drop(listener);
        let stage = Stage::start(|folder| {
            let mut server = server(folder, &address, "token");
            server.start_timeout = Duration::from_millis(700);
            vec![server]
        })
        .await;
        stage.until(0, "failed").await;
        let tools: Vec<openclaw::skills::mcp::tool::ToolEntry> = serde_json::from_value(json!([
            {"name": "add", "description": "", "input_schema": {"type": "object"}, "read_only": false},
        ]))
        .expect("tools");
        stage.shared[0].set_tools(tools);
        openclaw::skills::mcp::server::publish(&stage.catalogue, &stage.shared[0]);
        let refused = stage.call("mcp.web.add", json!({})).await.expect_err("down");
        assert!(matches!(&refused, SkillError::ServerDown { .. }), "{refused}");
        stage.stop().await;
    });
}

/// A server that streams: it tells that its list has changed, and waits in a call until that is cancelled.
struct Streaming {
    stateless: bool,
    changed: watch::Sender<bool>,
    cancelled: watch::Sender<u32>,
}

impl Streaming {
    fn capabilities(&self, method: &str) -> Option<Value> {
        let capabilities = json!({"tools": {"listChanged": true}});
        match (method, self.stateless) {
            ("server/discover", true) => Some(json!({
                "supportedVersions": [STATELESS], "capabilities": capabilities, "ttlMs": 0, "cacheScope": "private",
            })),
            ("initialize", false) => Some(json!({
                "protocolVersion": "2025-11-25", "capabilities": capabilities,
                "serverInfo": {"name": "h", "version": "1"},
            })),
            _ => None,
        }
    }

    /// What is told over a stream that stays open: this first, then each change.
    fn events(&self, first: Option<&Value>, params: Value) -> Response {
        let event = |message: &Value| format!("data: {message}\n\n");
        let mut heard = self.changed.subscribe();
        if *heard.borrow() {
            heard.mark_changed();
        }
        let first = stream::iter(first.map(event));
        let later = stream::unfold((heard, params), move |(mut heard, params)| async move {
            heard.changed().await.ok()?;
            let told = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": params});
            Some((event(&told), (heard, params)))
        });
        let body = Body::from_stream(first.chain(later).map(Ok::<_, Infallible>));
        ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
    }
}

/// Counts as cancelled when it goes: the server drops what works for a client that has left.
struct Closed(watch::Sender<u32>);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

async fn listen(State(server): State<Arc<Streaming>>) -> Response {
    server.events(None, json!({}))
}

async fn stream_answer(State(server): State<Arc<Streaming>>, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).expect("JSON");
    let method = request["method"].as_str().unwrap_or_default();
    let text = |text: &str| json!({"content": [{"type": "text", "text": text}]});
    let mut result = match (method, request["params"]["name"].as_str().unwrap_or_default()) {
        ("notifications/cancelled", _) => {
            server.cancelled.send_modify(|count| *count += 1);
            return StatusCode::ACCEPTED.into_response();
        }
        ("subscriptions/listen", _) if server.stateless => {
            let meta = json!({"io.modelcontextprotocol/subscriptionId": request["id"]});
            let acknowledged = json!({
                "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                "params": {"_meta": meta, "notifications": request["params"]["notifications"]},
            });
            return server.events(Some(&acknowledged), json!({ "_meta": meta }));
        }
        ("tools/list", _) => {
            let last = if *server.changed.borrow() { "added" } else { "old" };
            let tools = ["slow", "change", last].map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
            json!({ "tools": tools })
        }
        ("tools/call", "slow") => {
            // Without a handshake a closed request is what tells of the end.
            let _closed = server.stateless.then(|| Closed(server.cancelled.clone()));
            let mut cancelled = server.cancelled.subscribe();
            let before = *cancelled.borrow();
            let waiting = cancelled.wait_for(|count| *count > before);
            let heard = tokio::time::timeout(LONG, waiting)
                .await
                .is_ok_and(|heard| heard.is_ok());
            text(if heard { "cancelled" } else { "nobody cancelled it" })
        }
        ("tools/call", "change") => {
            server.changed.send_replace(true);
            text("changed")
        }
        ("tools/call", name) => text(name),
        _ => match server.capabilities(method) {
            Some(result) => result,
            None if request.get("id").is_none() => return StatusCode::ACCEPTED.into_response(),
            None => {
                let error = json!({"code": -32601, "message": "no"});
                return json_response(&json!({"jsonrpc": "2.0", "id": request["id"], "error": error}));
            }
        },
    };
    if server.stateless {
        result["resultType"] = "complete".into();
    }
    let answer = json_response(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}));
    if method == "initialize" {
        return ([("mcp-session-id", "s1")], answer).into_response();
    }
    answer
}

#[test]
fn over_http_a_dropped_call_is_cancelled_and_the_catalogue_follows_the_list_in_both_revisions() {
    let check = |stateless: bool| {
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let address = listener.local_addr().expect("address").to_string();
            let streaming = Arc::new(Streaming {
                stateless,
                changed: watch::Sender::new(false),
                cancelled: watch::Sender::new(0),
            });
            let router = Router::new()
                .route("/mcp", post(stream_answer).get(listen))
                .with_state(streaming.clone());
            let serving = axum::serve(listener, router);
            let test = async {
                let stage = Stage::start(|folder| {
                    vec![McpServer {
                        tools: None,
                        ..server(folder, &address, "token")
                    }]
                })
                .await;
                stage.until(0, "ready").await;
                assert_eq!(stage.skills(), ["mcp.web.change", "mcp.web.old", "mcp.web.slow"]);
                let mut cancelled = streaming.cancelled.subscribe();
                let slow = stage
                    .call_within("mcp.web.slow", json!({}), Duration::from_millis(300))
                    .await;
                assert!(slow.is_err(), "stateless {stateless}: {slow:?}");
                let told = cancelled.wait_for(|count| *count >= 1);
                let told = tokio::time::timeout(LONG, told).await;
                assert!(told.is_ok(), "stateless {stateless}: the server was not told");
                let changed = stage.call("mcp.web.change", json!({})).await.expect("an end");
                assert_eq!(&*changed.outcome.content, "changed");
                until_async("the new tool", LONG, async || {
                    let skills = stage.skills();
                    let follows =
                        skills.contains(&"mcp.web.added".to_owned()) && !skills.contains(&"mcp.web.old".to_owned());
                    if follows { Ok(()) } else { Err(skills) }
                })
                .await;
                let added = stage.call("mcp.web.added", json!({})).await.expect("an end");
                assert_eq!(&*added.outcome.content, "added");
                stage.stop().await;
            };
            tokio::select! {
                served = serving.into_future() => panic!("{served:?}"),
                done = tokio::time::timeout(LONG * 2, test) => done.expect("in time"),
            }
        });
    };
    check(false);
    check(true);
}
