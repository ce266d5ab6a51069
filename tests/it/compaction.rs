//! Long conversations of a real daemon: the older part gives way to a summary, also over a kill, and also when the
//! provider is the first to say that it is too long.

use serde_json::{Value, json};

use crate::support::daemon::{TestDaemon, TestHome};
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{Rim, of_kind};

fn home(server: &ModelServer, agent: &str) -> TestHome {
    let home = TestHome::new(&format!("{}[agent]\n{agent}", server.config("far", "openai")));
    for number in 0..8 {
        let text = format!("file {number}: {}\n", "words and words ".repeat(20));
        std::fs::write(home.workspace().join(format!("f{number}.txt")), text).expect("written");
    }
    home
}

fn start(home: &TestHome) -> TestDaemon {
    home.start_with(&[("TEST_MODEL_KEY", "k")])
}

fn submit(rim: &Rim, home: &TestHome) -> String {
    rim.submit(&json!({
        "task": "Read the files and say what is in them", "agent": "executor", "workspace": home.workspace(),
        "model": "far", "record": true,
    }))
}

fn read(numbers: std::ops::Range<u32>) -> impl Iterator<Item = Deed> {
    numbers.map(|number| Deed::ReadFile(format!("f{number}.txt")))
}

/// What a request says, message by message.
fn messages(request: &Value) -> Vec<String> {
    let messages = request["messages"].as_array().expect("messages");
    messages.iter().map(ToString::to_string).collect()
}

const TOO_LONG: Deed = Deed::Refuse(
    400,
    "",
    "{\"error\":{\"message\":\"This model's maximum context length is 9 tokens\",\"code\":\"context_length_exceeded\"}}",
);

#[test]
fn a_long_conversation_goes_on_from_its_summary_also_over_a_kill() {
    let server = ModelServer::start();
    // The system text alone is longer, so the first summary is due as soon as there is something to summarise.
    let home = home(&server, "compactAt = 1000\n");
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    server.then(read(0..4).chain([Deed::Hang]));
    let id = submit(&rim, &home);
    server.wait_asked(5);
    // A turn of reads waits for no disk: what is not there yet would be asked again.
    let mut stream = rim.stream(&id, None);
    stream
        .find(|event| event.kind == "compaction.begun")
        .expect("its beginning");
    daemon.kill();
    server.then([Deed::Text("FOUND: four files".into()), Deed::Text("all read".into())]);
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    let asked = server.asked();
    assert_eq!(asked.len(), 7, "four reads, the summary twice, the answer");
    // The request for the summary has the words of the conversation and none of its tools.
    assert_eq!(asked[4], asked[5], "it is asked for again after the kill");
    let summary = messages(&asked[5]).concat();
    assert!(
        summary.contains("Summarise this conversation") && summary.contains("file 1: words"),
        "{summary}"
    );
    assert!(asked[5]["tools"].as_array().is_none_or(Vec::is_empty), "{}", asked[5]);
    // The request after it begins as every other: the same system text and tools, then the task.
    let (before, after) = (messages(&asked[3]), messages(&asked[6]));
    assert_eq!((&before[0], &asked[3]["tools"]), (&after[0], &asked[6]["tools"]));
    assert!(
        after[1].starts_with(
            before[1]
                .trim_end_matches("\"}")
                .split("\\n# Deadline")
                .next()
                .expect("a task")
        )
    );
    assert!(
        after[1].contains("FOUND: four files") && after[1].contains("f0.txt"),
        "{}",
        after[1]
    );
    assert_eq!(after.len(), 2 + 4, "the last two rounds are kept");
    assert_eq!(
        before[before.len() - 2..],
        after[after.len() - 4..after.len() - 2],
        "word for word"
    );
    let events = rim.events(&id);
    assert_eq!(of_kind(&events, "history.compacted").len(), 1);
    // What it cost is on the books as every turn is.
    let charged = |kind: &str, field: &str| -> u64 {
        let facts = of_kind(&events, kind);
        facts.iter().filter_map(|fact| fact[field].as_u64()).sum()
    };
    assert_eq!(
        run["tokens"],
        charged("turn.finished", "tokens") + charged("turn.failed", "charged")
    );

    // The whole is replayed with its summary, and nobody is asked.
    let (status, cassette) = rim.text(&format!("/v1/runs/{id}/cassette"));
    assert_eq!((status, cassette.lines().count()), (200, 1 + 6), "{cassette}");
    let again = rim.ended(&rim.submit(&json!({
        "task": "Read the files and say what is in them", "agent": "executor", "workspace": home.workspace(),
        "model": "far", "replay": cassette,
    })));
    assert_eq!(
        (&again["status"], &again["result"]),
        (&run["status"], &run["result"]),
        "{again}"
    );
    assert_eq!(server.asked().len(), 7);
}

#[test]
fn a_conversation_that_the_provider_calls_too_long_is_compacted_once() {
    let server = ModelServer::start();
    let home = home(&server, "");
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    server.then(read(0..3).chain([TOO_LONG, Deed::Text("three files".into()), Deed::Text("done".into())]));
    let run = rim.ended(&submit(&rim, &home));
    assert_eq!(run["status"], "succeeded", "{run}");
    assert!(messages(&server.asked()[5])[1].contains("three files"));

    // A summary that cannot be had is made without the model; a conversation that stays too long fails with the reason.
    server.then(read(0..3).chain([TOO_LONG, TOO_LONG, TOO_LONG]));
    let id = submit(&rim, &home);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "failed", "{run}");
    assert!(
        run["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("maximum context length")),
        "{run}"
    );
    let events = rim.events(&id);
    let compacted = of_kind(&events, "history.compacted");
    assert!(
        compacted[0].to_string().contains("no model made this summary"),
        "{compacted:?}"
    );
}
