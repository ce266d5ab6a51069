//! Addresses that serve over Streamable HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use openclaw::domain::name::SkillName;
use openclaw::skills::mcp::config::{Hidden, McpServer, Way};
use openclaw::skills::skill::SkillError;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::stage::{LONG, Stage, program};
use crate::process::block_on;

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
            assert!(away.is_err(), "{away:?}");
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
