//! What is recorded is answered again; what differs is named; what is secret stays out.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::canon::Canon;
use super::format::{CassetteError, read, write_header, write_line};
use super::player::Player;
use super::recorder::Recorder;
use super::redact::Redactor;
use crate::domain::conversation::{
    Arguments, CallRequest, CallResult, KeptBlock, Message, ModelAnswer, ModelRequest, Stop, Usage,
};
use crate::domain::fact::Attempt;
use crate::domain::id::RunId;
use crate::domain::name::{ModelAlias, StepId};
use crate::domain::time::UtcMillis;
use crate::domain::traffic::Traffic;

const CANARY: &str = "hunter2-canary";

fn canon(workspace: &str, run: u128) -> Arc<Canon> {
    let run = RunId::new(UtcMillis(1_800_000_000_000), run);
    Arc::new(Canon::new(workspace, run, Redactor::new([CANARY])))
}

fn attempt(number: u32) -> Attempt {
    Attempt {
        step: StepId::new("work").expect("valid"),
        number,
    }
}

fn request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        model: ModelAlias::new("far").expect("valid"),
        system: "You work.".into(),
        messages: Arc::new(messages),
        skills: Vec::new().into(),
        output_schema: None,
        output_tokens_max: 100,
        options: None,
    }
}

fn answer(text: &str) -> ModelAnswer {
    ModelAnswer {
        text: text.into(),
        calls: vec![
            CallRequest {
                id: "c1".into(),
                skill: "fs.read".into(),
                arguments: Arguments::Object(json!({ "path": "/work/one/a.txt", "key": CANARY }).into()),
            },
            CallRequest {
                id: "c2".into(),
                skill: "fs.read".into(),
                arguments: Arguments::Malformed {
                    reason: "no JSON".into(),
                    preview: "{".into(),
                },
            },
        ],
        stop: Stop::Length,
        usage: Usage {
            input: 5,
            cache_read: 1,
            cache_write: 2,
            output: 3,
            estimated: true,
        },
        answered_by: "m-1".into(),
        kept: Arc::new([KeptBlock {
            dialect: "anthropic".into(),
            before: 0,
            json: "{\"type\":\"thinking\"}".into(),
        }]),
    }
}

fn user(text: &str) -> Message {
    Message::User(text.into())
}

/// Records these requests, each answered with its text.
fn record(canon: &Arc<Canon>, asked: &[(Vec<Message>, &str)]) -> String {
    let mut recorder = Recorder::new(canon.clone());
    let mut text = write_header(canon, "a task");
    for (index, (messages, said)) in asked.iter().enumerate() {
        let traffic = Traffic {
            attempt: attempt(1),
            turn: index as u32 + 1,
            request: recorder.ask(&request(messages.clone()), index as u32),
            note: recorder.note(),
        };
        text.push_str(&write_line(canon, &traffic, &answer(said)));
    }
    text
}

#[test]
fn two_runs_that_ask_the_same_have_one_name_for_it_and_two_that_do_not_have_two() {
    let name = |workspace: &str, run: u128, text: &str| {
        let text = text.replace("WORKSPACE", workspace);
        let canon = canon(workspace, run);
        let text = text.replace("RUN", &RunId::new(UtcMillis(1_800_000_000_000), run).to_string());
        Recorder::new(canon).ask(&request(vec![user(&text)]), 0)
    };
    let check = |one: &str, two: &str, same: bool| {
        let (first, second) = (name("/work/one", 1, one), name("/srv/other place", 2, two));
        assert_eq!(first == second, same, "{one} / {two}");
    };
    check("do it", "do it", true);
    check("do it", "do that", false);
    check("read WORKSPACE/a.txt in RUN", "read WORKSPACE/a.txt in RUN", true);
    check("WORKSPACE-2/a", "WORKSPACE-2/a", false);
    check(
        "# Deadline\n2026-01-02T03:04:05Z",
        "# Deadline\n2027-11-12T13:14:15.25+02:00",
        true,
    );
    check("on 2026-01-02", "on 2026-01-03", false);
    check(
        "{\"updated_at_ms\":1790000000000}",
        "{\"updated_at_ms\":1790000000001}",
        true,
    );
    check("17900000000001", "17900000000002", false);
    check(
        "key 67e55044-10b1-426f-9247-bb680e5fe0c8",
        "key 67e55044-10b1-426f-9247-bb680e5fe0c9",
        true,
    );
    check("run_01arz3ndektsv4rrffq69g5fav", "run_01arz3ndektsv4rrffq69g5faw", true);
    check("- attempt 1 failed (check): x", "- attempt 2 failed (check): x", true);
    check("attempt 1", "attempt 2", false);
    check("port 8080", "port 8081", false);
}

#[test]
fn ids_and_kept_parts_do_not_count_and_everything_else_of_a_message_does() {
    let said = |id: &str, path: &str, content: &str, is_error: bool| {
        let call = CallRequest {
            id: id.into(),
            skill: "fs.read".into(),
            arguments: Arguments::Object(json!({ "path": path }).into()),
        };
        let result = CallResult {
            id: id.into(),
            content: content.into(),
            is_error,
        };
        let assistant = Message::Assistant {
            text: "".into(),
            calls: vec![call],
            kept: Arc::new([]),
        };
        let messages = vec![user("x"), assistant, Message::Results(vec![result])];
        Recorder::new(canon("/w", 1)).ask(&request(messages), 0)
    };
    let base = said("1", "a", "text", false);
    assert_eq!(base, said("2", "a", "text", false));
    assert_ne!(base, said("1", "b", "text", false));
    assert_ne!(base, said("1", "a", "other", false));
    assert_ne!(base, said("1", "a", "text", true));
    let name = |change: fn(&mut ModelRequest)| {
        let mut asked = request(vec![user("x")]);
        change(&mut asked);
        Recorder::new(canon("/w", 1)).ask(&asked, 0)
    };
    let base = name(|_| ());
    assert_ne!(base, name(|asked| asked.system = "You rest.".into()));
    assert_ne!(base, name(|asked| asked.output_tokens_max = 5));
    assert_ne!(base, name(|asked| asked.output_schema = Some(json!({}).into())));
    assert_ne!(
        base,
        name(|asked| asked.model = ModelAlias::new("near").expect("valid"))
    );
}

#[test]
fn a_cassette_answers_as_it_was_recorded_with_the_places_of_the_new_run_and_without_secrets() {
    let recorded = canon("/work/one", 1);
    let question = vec![user(&format!("/work/one and {CANARY} and sk-abcdefghijklmnop1234"))];
    let text = record(&recorded, &[(question, &format!("in /work/one: {CANARY}"))]);
    assert!(
        !text.contains(CANARY) && !text.contains("sk-abc") && !text.contains("/work/one"),
        "{text}"
    );
    let player = Player::new(&text, &[]).expect("a cassette");
    let here = canon("/tmp/x", 9);
    let mut recorder = Recorder::new(here.clone());
    // The mark stands where the secret was, as it does in everything that the replayed run reads.
    let asked = request(vec![user("/tmp/x and (secret) and (secret)")]);
    let name = recorder.ask(&asked, 0);
    let played = player
        .answer(&attempt(1), 1, name, &recorder, &here)
        .expect("an answer");
    let wanted = ModelAnswer {
        text: "in /tmp/x: (secret)".into(),
        calls: vec![
            CallRequest {
                arguments: Arguments::Object(json!({ "path": "/tmp/x/a.txt", "key": "(secret)" }).into()),
                ..answer("").calls[0].clone()
            },
            answer("").calls[1].clone(),
        ],
        ..answer("")
    };
    assert_eq!(played, wanted);
}

#[test]
fn equal_requests_are_answered_in_their_order_and_the_same_turn_always_alike() {
    let canon = canon("/w", 1);
    let ask = || vec![user("same")];
    let text = record(&canon, &[(ask(), "first"), (ask(), "second")]);
    let mut recorder = Recorder::new(canon.clone());
    let name = recorder.ask(&request(ask()), 0);
    let played = |player: &Player, number: u32| {
        let answer = player.answer(&attempt(number), 1, name, &recorder, &canon);
        answer
            .map(|answer| answer.text.to_string())
            .map_err(|miss| miss.to_string())
    };
    let player = Player::new(&text, &[]).expect("a cassette");
    assert_eq!(played(&player, 1).as_deref(), Ok("first"));
    assert_eq!(
        played(&player, 1).as_deref(),
        Ok("first"),
        "it asks again after a crash"
    );
    assert_eq!(played(&player, 2).as_deref(), Ok("second"));
    let refused = played(&player, 3).expect_err("nothing is left");
    assert!(
        refused.contains("answered 2 times") && refused.contains("OC-4101"),
        "{refused}"
    );
    // A later life knows what was answered before.
    let answered = Traffic {
        attempt: attempt(1),
        turn: 1,
        request: name,
        note: "{}".into(),
    };
    let player = Player::new(&text, &[answered]).expect("a cassette");
    assert_eq!(played(&player, 2).as_deref(), Ok("second"));
}

#[test]
fn a_miss_names_what_differs() {
    let canon = canon("/w", 1);
    let conversation = |last: &str| vec![user("the task"), user("more"), user(last)];
    let text = record(&canon, &[(vec![user("the task")], "a"), (conversation("the end"), "b")]);
    let player = Player::new(&text, &[]).expect("a cassette");
    let check = |asked: ModelRequest, wanted: &str| {
        let mut recorder = Recorder::new(canon.clone());
        let name = recorder.ask(&asked, 0);
        let miss = player
            .answer(&attempt(1), 7, name, &recorder, &canon)
            .expect_err("a miss")
            .to_string();
        assert!(
            miss.contains(wanted) && miss.starts_with("the cassette has no answer for turn 7 of work#1"),
            "{miss}"
        );
    };
    check(
        request(conversation("the start")),
        "the nearest is turn 2 of work#1: message 3 (user) differs from byte 4 on: recorded `end`, asked `start`",
    );
    check(
        request(vec![user("another")]),
        "message 1 (user) differs from byte 0 on",
    );
    let mut asked = request(conversation("the end"));
    asked.system = "You rest.".into();
    check(asked, "turn 2 of work#1: the system text differs");
    let mut longer = conversation("the end");
    longer.push(user("one more"));
    check(
        request(longer),
        "message 4 (user) was not asked when it was recorded: `one more`",
    );
    let empty = Player::new("{\"cassette\":1}\n", &[]).expect("an empty cassette");
    let recorder = Recorder::new(canon.clone());
    let miss = empty
        .answer(&attempt(1), 1, [0; 32], &recorder, &canon)
        .expect_err("a miss");
    assert!(miss.nearest.contains("no answers at all"), "{miss}");
}

#[test]
fn what_is_no_cassette_is_refused_with_its_place() {
    let good = record(&canon("/w", 1), &[(vec![user("x")], "y")]);
    assert_eq!(read(&good).map(|lines| lines.len()), Ok(1));
    let check = |text: &str, wanted: &str| {
        let error = read(text).expect_err(text).to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    };
    check("", "does not begin with");
    check("{}", "does not begin with");
    check("hello", "does not begin with");
    check("{\"cassette\":2}", "has form 2; this program knows form 1");
    check("{\"cassette\":1}\n{\"step\":", "line 2 of the cassette");
    check("{\"cassette\":1}\n\n{}", "line 3 of the cassette: a member is missing");
    check(&good.replace("\"stop\":\"length\"", "\"stop\":\"never\""), "line 2");
    check(&good.replace("\"turn\":1", "\"turn\":-1"), "line 2");
    let long = " ".repeat(crate::domain::limits::CASSETTE_BYTES_MAX + 1);
    assert!(matches!(read(&long), Err(CassetteError::TooLong { .. })));
}

#[test]
fn secrets_are_known_by_value_and_by_shape() {
    let redactor = Redactor::new(["short", "correct horse battery", "correct horse"]);
    let check = |text: &str, wanted: &str| assert_eq!(redactor.text(text), wanted);
    check("nothing", "nothing");
    check("short words stay", "short words stay");
    check("a correct horse battery!", "a (secret)!");
    check("key sk-ant-api03-abcdefghijkl, then", "key (secret), then");
    check(
        "a task-by-task description of work",
        "a task-by-task description of work",
    );
    check(
        "Authorization: Bearer abcdef0123456789abcdef",
        "Authorization: (secret)",
    );
    check("ghp_abcdefghijklmnopqrstuvwxyz0123", "(secret)");
    check("AKIAIOSFODNN7EXAMPLE", "(secret)");
    check("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJl", "(secret)");
    check(
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
        "(secret)",
    );
    check("ocl_01arz3ndektsv4rrffq69g5fav_0123456789abcdefABCDEF", "(secret)");
}

proptest! {
    /// A second look changes nothing, and what was recorded is played as it was.
    #[test]
    fn the_canonical_form_of_a_canonical_form_is_itself(text in ".{0,80}") {
        let canon = canon("/work/one", 1);
        let once = canon.text(&text).into_owned();
        prop_assert_eq!(canon.text(&once).into_owned(), once.clone());
        let restored = canon.restore(&canon.portable(&text));
        prop_assert_eq!(canon.text(&restored).into_owned(), once);
    }
}
