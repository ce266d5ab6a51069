//! What clients are held to and where their requests go, at a real gateway.

use serde_json::{Value, json};

use crate::keys::cli;
use crate::support::daemon::TestHome;
use crate::support::rim::{RUN_MAX, Reply, Rim};
use crate::support::wait::until;

fn number(reply: &Reply, name: &str) -> u64 {
    let text = reply.header(name).unwrap_or_else(|| panic!("no {name}: {reply:?}"));
    text.parse().unwrap_or_else(|_| panic!("{name}: {text}"))
}

fn key(home: &TestHome, name: &str, scopes: &[&str]) -> String {
    let mut arguments = vec!["key", "create", name];
    for scope in scopes {
        arguments.extend(["--scope", scope]);
    }
    let (exit, value) = cli(home, &arguments);
    assert_eq!(exit, 0, "{value}");
    value["key"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

#[test]
fn a_key_over_its_rate_is_told_when_to_come_back_and_others_go_on() {
    let home = TestHome::new("[gateway]\nrateLimit.perKey = 6\nrateLimit.burst = 3\n");
    let daemon = home.start();
    let one = Rim::of(&daemon).with_key(Some(&key(&home, "one", &["runs:*", "agents:*"])));
    let two = Rim::of(&daemon).with_key(Some(&key(&home, "two", &["runs:*", "agents:*"])));
    for left in [2, 1, 0] {
        let reply = one.get("/v1/runs");
        assert_eq!((reply.status, number(&reply, "ratelimit-remaining")), (200, left));
        assert_eq!(number(&reply, "ratelimit-limit"), 3);
        assert!(number(&reply, "ratelimit-reset") <= 30);
    }
    let check = |path: &str, kind: &str| {
        let method = if path == "/v1/runs" { "GET" } else { "POST" };
        let body = if method == "GET" {
            ""
        } else {
            "{\"model\":\"executor\",\"messages\":[]}"
        };
        let reply = one.ask(method, path, &[], body);
        assert_eq!(reply.status, 429, "{path}: {reply:?}");
        let wait = number(&reply, "retry-after");
        assert!((1..=10).contains(&wait), "{path}: {wait}");
        assert_eq!(number(&reply, "ratelimit-remaining"), 0, "{path}");
        assert!(reply.body.to_string().contains(kind), "{path}: {}", reply.body);
    };
    check("/v1/runs", "OC-7013");
    check("/v1/chat/completions", "rate_limit_error");
    check("/v1/messages", "rate_limit_error");
    assert_eq!(two.get("/v1/runs").status, 200, "another key's are its own");
    // Operators are not held up by the limits that they set.
    for _ in 0..5 {
        assert_eq!(cli(&home, &["key", "list"]).0, 0);
    }
}

#[test]
fn an_agent_and_the_tokens_of_a_key_are_bounded_before_anything_is_accepted() {
    let config = "[gateway]\nrateLimit.perAgent = 1\nrateLimit.tokensPerKey = 10000\n";
    let home = TestHome::new(config);
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let order = |agent: &str, tokens: u64| {
        let body = json!({ "task": "x", "agent": agent, "tokens_max": tokens, "workspace": home.workspace() });
        rim.post("/v1/runs", &body)
    };
    assert_eq!(order("coder", 100).status, 202);
    let refused = order("coder", 100);
    assert_eq!((refused.status, refused.code()), (429, "OC-7013"), "{refused:?}");
    assert!(number(&refused, "retry-after") <= 60);
    assert_eq!(order("reviewer", 5_000).status, 202);
    let refused = order("executor", 5_000);
    assert_eq!((refused.status, refused.code()), (429, "OC-7018"), "{refused:?}");
    let refused = order("planner", 20_000);
    assert_eq!(
        (refused.status, refused.code()),
        (429, "OC-7018"),
        "more than ever passes: {refused:?}"
    );
    // An agent that a plan names gets an order too, and so does one whose run is repeated.
    let steps = json!([{ "id": "a", "agent": "coder", "task": "x" }]);
    let body = json!({ "task": "x", "workspace": home.workspace(), "plan": { "steps": steps } });
    let refused = rim.post("/v1/runs", &body);
    assert_eq!((refused.status, refused.code()), (429, "OC-7013"), "{refused:?}");
    let runs = rim.get("/v1/runs").body;
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(2), "{runs}");
    let coder = runs["runs"].as_array().expect("runs").last().expect("the first");
    let id = coder["id"].as_str().expect("an id");
    rim.ended(id);
    let refused = rim.post(&format!("/v1/runs/{id}/retry"), &json!({}));
    assert_eq!((refused.status, refused.code()), (429, "OC-7013"), "{refused:?}");
}

#[test]
fn requests_under_way_are_bounded_for_a_key_and_for_all_and_probes_are_answered() {
    let home = TestHome::new("[gateway]\nrateLimit.atOncePerKey = 2\nmaxRequests = 3\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let script = "until [ -e go ]; do sleep 0.02; done";
    let steps = json!([{ "id": "a", "skill": "exec.run", "inputs": { "argv": ["sh", "-c", script] } }]);
    let body = json!({ "task": "x", "workspace": home.workspace(), "plan": { "steps": steps } });
    let id = rim.submit(&body);
    // Two streams are under way, so a third request of the key is not taken; they are not being answered any more.
    let streams = [rim.stream(&id, None), rim.stream(&id, None)];
    let refused = rim.get("/v1/runs");
    assert_eq!((refused.status, refused.code()), (429, "OC-7014"), "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    drop(streams);
    until("the places to be free", RUN_MAX, || {
        let reply = rim.get("/v1/runs");
        if reply.status == 200 { Ok(()) } else { Err(reply.status) }
    });
    // Three wait for the run; the next is too much for the gateway, whoever asks.
    let others: Vec<Rim> = (0..2)
        .map(|n| rim.with_key(Some(&key(&home, &format!("k{n}"), &["runs:*", "agents:*"]))))
        .collect();
    let waiting: Vec<_> = std::iter::once(&rim)
        .chain(&others)
        .map(|rim| rim.open("POST", "/v1/runs?wait=60000", &[], &body.to_string()))
        .collect();
    let refused = until("an overload", RUN_MAX, || {
        let reply = rim.with_key(None).get("/v1/runs");
        if reply.status == 503 {
            Ok(reply)
        } else {
            Err(reply.status)
        }
    });
    assert_eq!(refused.code(), "OC-7015");
    assert!(number(&refused, "retry-after") >= 1);
    assert_eq!(rim.get("/livez").status, 200);
    std::fs::write(home.workspace().join("go"), "").expect("written");
    for waiting in waiting {
        assert_eq!(Rim::answer(waiting).status, 200);
    }
}

#[test]
fn an_address_that_guesses_keys_is_told_to_wait_and_a_good_key_works_on() {
    let home = TestHome::new("[metrics]\nport = 0\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let guess = rim.with_key(Some("ocl_guess_guess"));
    let statuses: Vec<u16> = (0..15).map(|_| guess.get("/v1/runs").status).collect();
    assert_eq!((&statuses[..10], &statuses[10..]), (&[401; 10][..], &[429; 5][..]));
    let refused = guess.get("/v1/runs");
    assert_eq!(refused.code(), "OC-7016");
    assert!((200..=300).contains(&number(&refused, "retry-after")), "{refused:?}");
    assert_eq!(rim.get("/v1/runs").status, 200);
    assert_eq!(rim.with_key(None).get("/v1/runs").status, 401, "no key is no guess");
    let status = cli(&home, &["status"]).1;
    let url = status["metrics"].as_str().unwrap_or_else(|| panic!("{status}"));
    let metrics = Rim {
        address: url
            .trim_start_matches("http://")
            .trim_end_matches("/metrics")
            .to_owned(),
        key: None,
    };
    let (_, text) = metrics.text("/metrics");
    assert!(
        text.contains("openclaw_gateway_refused_total{why=\"locked_out\"} 6"),
        "{text}"
    );
}

#[test]
fn words_about_where_a_request_comes_from_count_from_a_named_proxy_alone() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    for name in [
        "x-forwarded-for",
        "forwarded",
        "x-real-ip",
        "x-forwarded-host",
        "x-client-identity",
    ] {
        let reply = rim.ask("GET", "/v1/runs", &[(name, "127.0.0.1")], "");
        assert_eq!((reply.status, reply.code()), (403, "OC-7017"), "{name}: {reply:?}");
    }
    let home = TestHome::new("[gateway]\ntrustedProxies = [\"127.0.0.1/32\"]\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let sent = [
        ("x-forwarded-for", "1.1.1.1, 203.0.113.9"),
        ("x-client-identity", "CN=alice"),
    ];
    let reply = rim.ask("GET", "/v1/status", &sent, "");
    let client = json!({ "address": "203.0.113.9", "identity": "CN=alice" });
    assert_eq!((reply.status, &reply.body["client"]), (200, &client), "{}", reply.body);
    // A name lets nobody in.
    let reply = rim.with_key(None).ask("GET", "/v1/status", &sent, "");
    assert_eq!(reply.status, 401);
    // Clients behind the proxy are told apart.
    let guess = rim.with_key(Some("ocl_guess_guess"));
    let from = |address: &str| guess.ask("GET", "/v1/runs", &[("x-forwarded-for", address)], "").status;
    assert!(
        (0..11)
            .map(|_| from("203.0.113.1"))
            .eq((0..11).map(|n| if n < 10 { 401 } else { 429 }))
    );
    assert_eq!(from("203.0.113.2"), 401);
}

#[test]
fn a_request_that_names_no_agent_goes_by_header_session_rule_and_key_in_this_order() {
    let config = "[gateway.routes.a-large]\nminBytes = 2000\nagent = \"reviewer\"\n\
                  [gateway.routes.b-team]\nheader = \"x-team: red\"\npath = \"/v1/\"\nagent = \"debugger\"\n";
    let home = TestHome::new(config);
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let coders = rim.with_key(Some(&key(&home, "coders", &["runs:*", "agents:*", "agent:coder"])));
    let lost = rim.with_key(Some(&key(&home, "lost", &["runs:*", "agent:nobody"])));
    let agent_of = |reply: &Reply| reply.body["agent"].as_str().map(str::to_owned);
    let check = |rim: &Rim, headers: &[(&str, &str)], more: Value, expected: Option<&str>| {
        let mut body = json!({ "task": "say hello", "workspace": home.workspace() });
        for (name, value) in more.as_object().expect("members") {
            body[name] = value.clone();
        }
        let reply = rim.ask("POST", "/v1/runs", headers, &body.to_string());
        assert_eq!(reply.status, 202, "{headers:?}: {}", reply.body);
        assert_eq!(agent_of(&reply).as_deref(), expected, "{headers:?}: {}", reply.body);
    };
    let large = json!({ "task": "x".repeat(2000) });
    check(&rim, &[], json!({}), None);
    check(&coders, &[], json!({}), Some("coder"));
    check(&coders, &[("x-team", "red")], json!({}), Some("debugger"));
    check(&coders, &[("x-team", "blue")], json!({}), Some("coder"));
    check(&coders, &[("x-team", "red")], large.clone(), Some("reviewer"));
    check(
        &coders,
        &[("x-team", "red"), ("x-openclaw-agent", "executor")],
        large.clone(),
        Some("executor"),
    );
    check(
        &coders,
        &[("x-team", "red")],
        json!({ "agent": "planner" }),
        Some("planner"),
    );
    // A session keeps the agent that its first request got; another key's session of that name is another one.
    check(
        &coders,
        &[("x-openclaw-session", "s1"), ("x-team", "red")],
        json!({}),
        Some("debugger"),
    );
    check(
        &coders,
        &[("x-openclaw-session", "s1")],
        large.clone(),
        Some("debugger"),
    );
    check(&rim, &[("x-openclaw-session", "s1")], large, Some("reviewer"));
    let refused = |rim: &Rim, headers: &[(&str, &str)]| {
        let reply = rim.ask("POST", "/v1/runs", headers, "{\"task\":\"x\"}");
        assert_eq!((reply.status, reply.code()), (404, "OC-1005"), "{reply:?}");
    };
    refused(&rim, &[("x-openclaw-agent", "nobody")]);
    refused(&lost, &[]);
    // The same for clients of the vendors' protocols, which always name a model.
    let run_of = |model: &str, headers: &[(&str, &str)]| {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] }).to_string();
        let reply = coders.ask("POST", "/v1/chat/completions", headers, &body);
        assert_eq!(reply.status, 200, "{model}: {}", reply.body);
        let runs = rim.get("/v1/runs?limit=1").body;
        runs["runs"][0]["agent"].as_str().map(str::to_owned)
    };
    assert_eq!(run_of("openclaw", &[]).as_deref(), Some("coder"));
    assert_eq!(run_of("openclaw/reviewer", &[]).as_deref(), Some("reviewer"));
    assert_eq!(
        run_of("reviewer", &[("x-openclaw-agent", "executor")]).as_deref(),
        Some("executor")
    );
    let wrong = TestHome::new("[gateway.routes.c]\nagent = \"nobody\"\n");
    let (exit, error) = cli(&wrong, &["config", "validate"]);
    assert_eq!(exit, 1, "{error}");
}
