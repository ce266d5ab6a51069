//! What happened to programs like this one does not happen here: each published incident has its regression test.
//!
//! | incident | what went wrong | tests |
//! |---|---|---|
//! | CVE-2026-25253 | a page took the gateway's address from the query and sent its token there | Test: `a_web_page_of_another_origin_gets_nothing_and_no_query_is_a_key`, `who_may_not_is_told_so_and_probes_need_no_key` |
//! | CVE-2026-25593, GHSA-g55j-c2v4-pjcg | a local change of the configuration without a key | Test: `every_operation_needs_a_key_also_on_this_machine` |
//! | GHSA-rqpp-rjj8-7wv8 | a client declared its own scope | Test: `a_key_makes_no_key_that_can_do_more_than_itself_whatever_the_request_says` |
//! | GHSA-4jpw-hj22-2xmc | a small token minted a large one | Test: `nobody_mints_or_takes_over_more_than_it_carries`, `a_key_makes_no_key_that_can_do_more_than_itself_whatever_the_request_says` |
//! | GHSA-m8wm-r5vq-qjpg | a rotated token stayed valid until the restart | Test: `a_revoked_key_is_refused_and_its_open_stream_ends_within_a_second`, `a_lapse_is_told_at_once_when_it_is_made_and_at_its_time_when_it_was_agreed` |
//! | GHSA-943q-mwmv-hhvh | dangerous tools could be called over HTTP | Test: `no_skill_is_called_and_no_program_is_named_over_http` |
//! | GHSA-cjv3-m589-v3rx | an address counted as an identity | Test: `every_operation_needs_a_key_also_on_this_machine`, `words_about_where_a_request_comes_from_count_from_a_named_proxy_alone` |
//! | CVE-2026-28457 | `../` in the name of a skill | Test: `the_second_and_third_tier_are_read_on_demand_and_nothing_beside_them`, `no_path_leads_any_skill_out_of_its_folder` |
//! | CVE-2026-28463, GHSA-xvhf-x56f-2hpp | arguments were checked, then a shell expanded them | Test: `arguments_reach_a_program_as_they_are_and_no_shell_reads_them` |
//! | GHSA-474h-prjg-mmw3 | a child did not have its parent's bounds | Test: `a_run_may_touch_no_more_than_whoever_submitted_it_says`, `a_script_touches_what_its_package_was_granted_and_nothing_else` |
//! | issues 9435, 20809, 139494 | tokens in addresses; weak and literal ones accepted | Test: `a_web_page_of_another_origin_gets_nothing_and_no_query_is_a_key`, `words_that_programs_send_by_mistake_are_no_keys` |
//! | exposure scans of 2026 | open addresses without TLS or keys | Test: `an_address_that_others_can_reach_needs_tls`, `an_open_address_without_chosen_networks_is_refused_at_the_start`, `every_operation_needs_a_key_also_on_this_machine` |
//! | ClawHavoc | skills from a registry ran unseen | Test: `a_script_runs_when_it_was_added_with_the_capability_and_is_what_was_added`, `a_package_is_added_changed_refused_and_removed_from_the_command_line` |
//! | CVE-2025-3248, commands of MCP servers | configuration as code, from requests | Test: `no_skill_is_called_and_no_program_is_named_over_http` |

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::Rim;

/// The operations of the gateway's description: method, path, and whether it needs a key.
fn operations() -> Vec<(Method, String, bool)> {
    let document = openclaw::gateway::openapi::document();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let Ok(method) = Method::from_bytes(method.to_ascii_uppercase().as_bytes()) else {
                continue;
            };
            let parts = path
                .split('/')
                .map(|part| if part.starts_with('{') { "x" } else { part });
            let is_guarded = operation["security"].as_array().is_some_and(|ways| !ways.is_empty());
            found.push((method, parts.collect::<Vec<_>>().join("/"), is_guarded));
        }
    }
    found
}

#[test]
fn every_operation_needs_a_key_also_on_this_machine() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon).with_key(None);
    let all = operations();
    let open: Vec<&str> = all
        .iter()
        .filter(|(.., guarded)| !guarded)
        .map(|(_, path, _)| path.as_str())
        .collect();
    assert_eq!(
        open,
        ["/healthz", "/livez", "/openapi.json", "/readyz"],
        "what says nothing but yes or no"
    );
    for (method, path, _) in all.iter().filter(|(.., guarded)| *guarded) {
        let body = if *method == Method::GET { "" } else { "{}" };
        let reply = rim.ask(method.as_str(), path, &[], body);
        assert_eq!(reply.status, 401, "{method} {path}: {}", reply.body);
    }
    assert_eq!(
        Rim::of(&daemon).get("/v1/runs").body["runs"],
        json!([]),
        "nothing was accepted"
    );
}

#[test]
fn a_web_page_of_another_origin_gets_nothing_and_no_query_is_a_key() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost:3000"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let reply = rim.ask("POST", "/v1/runs", &[(name, value)], "{\"task\":\"x\"}");
        assert_eq!((reply.status, reply.code()), (403, "OC-2009"), "{name}: {value}");
    }
    // Clients of the vendors' protocols know no other shape than their own.
    let page = [("origin", "https://evil.example")];
    let told = rim.ask("POST", "/v1/messages", &page, "{}");
    let kind = (&told.body["type"], &told.body["error"]["type"]);
    assert_eq!(
        (told.status, kind),
        (403, (&json!("error"), &json!("permission_error"))),
        "{}",
        told.body
    );
    assert!(told.header("request-id").is_some());
    let told = rim.ask("POST", "/v1/chat/completions", &page, "{}");
    assert!(
        told.status == 403 && told.body["error"]["message"].is_string(),
        "{}",
        told.body
    );
    assert!(told.header("x-request-id").is_some());
    let keyless = rim.with_key(None);
    for name in ["key", "token", "api_key", "access_token", "auth", "gatewayUrl", "url"] {
        let reply = keyless.get(&format!("/v1/runs?{name}={}", daemon.key));
        assert_eq!(reply.status, 401, "{name}");
    }
    let cookie = format!("key={}; token={}", daemon.key, daemon.key);
    assert_eq!(keyless.ask("GET", "/v1/runs", &[("cookie", &cookie)], "").status, 401);
}

#[test]
fn words_that_programs_send_by_mistake_are_no_keys() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon).with_key(None);
    // Few enough that the address is not told to wait.
    for value in [
        "Bearer undefined",
        "Bearer null",
        "Bearer ",
        "Bearer ${OPENCLAW_KEY}",
        "Basic b2NsOm9jbA==",
        "Bearer ocl__",
    ] {
        let reply = rim.ask("GET", "/v1/runs", &[("authorization", value)], "");
        assert_eq!(reply.status, 401, "{value}: {}", reply.body);
    }
    let doubled = format!("Bearer {}{}", daemon.key, daemon.key);
    assert_eq!(
        rim.ask("GET", "/v1/runs", &[("authorization", &doubled)], "").status,
        401
    );
}

#[test]
fn no_skill_is_called_and_no_program_is_named_over_http() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let program = json!({ "command": ["sh", "-c", "touch pwned"], "argv": ["sh"], "name": "x", "arguments": {} });
    for (method, path) in [
        ("POST", "/tools/invoke"),
        ("POST", "/v1/skills/exec.run"),
        ("POST", "/v1/skills/exec.run/call"),
        ("POST", "/v1/mcp"),
        ("PUT", "/v1/mcp/x"),
        ("POST", "/v1/agents"),
        ("PUT", "/v1/agents/coder"),
        ("PUT", "/admin/v1/config"),
        ("POST", "/v1/eval"),
        ("POST", "/v1/validate/code"),
    ] {
        let reply = rim.ask(method, path, &[], &program.to_string());
        let is_refused = matches!((reply.status, reply.code()), (404, "OC-1010") | (405, "OC-1013"));
        assert!(is_refused, "{method} {path}: {}", reply.body);
    }
    // A schedule of a command is the one thing of a request that names a program; it runs confined, and only for a key
    // that may write schedules.
    let (exit, made) = crate::keys::cli(&home, &["key", "create", "runner", "--scope", "runs:*"]);
    assert_eq!(exit, 0, "{made}");
    let runner = rim.with_key(made["key"].as_str());
    let schedule = json!({ "name": "x", "cron": "@every 1s", "command": ["touch", "pwned"] });
    let reply = runner.post("/v1/schedules", &schedule);
    assert_eq!((reply.status, reply.code()), (403, "OC-2003"), "{}", reply.body);
}

#[test]
fn arguments_reach_a_program_as_they_are_and_no_shell_reads_them() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    std::fs::write(home.workspace().join("a.txt"), "").expect("written");
    let argv = json!(["printf", "%s|", "*", "$HOME", "`id`", "$(id)", ";", "&&", "~", "a\nb"]);
    let steps = json!([{ "id": "a", "skill": "exec.run", "inputs": { "argv": argv } }]);
    let id = rim.submit_plan(&home.workspace(), &steps);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    let events: Vec<Value> = rim.events(&id).into_iter().map(|event| event.data).collect();
    let said = Value::from(events).to_string();
    let expected = serde_json::to_string("*|$HOME|`id`|$(id)|;|&&|~|a\nb|").expect("JSON");
    let inner = expected.trim_matches('"');
    // What a program said is itself a text within the fact, so it is escaped once more.
    let escaped = serde_json::to_string(inner).expect("JSON");
    assert!(
        said.contains(inner) || said.contains(escaped.trim_matches('"')),
        "{said}"
    );
}
