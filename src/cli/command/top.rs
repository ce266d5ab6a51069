//! `openclaw top`: what the daemon does right now, and which of its actors are busy or in trouble.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::arguments::TopArguments;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::duration::show_ms;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Output, Tone, one_line, table};
use crate::cli::screen::{Picture, watch};
use crate::cli::view::runs_table;

/// Commits and time of a picture, from which the next one tells how many there are each second.
type Before = Option<(u64, u64)>;

/// Draws it, again and again unless once is enough.
pub async fn run(context: &mut Context, arguments: &TopArguments) -> Result<Exit, CliError> {
    let mut before = None;
    if arguments.once {
        let Picture { value, text } = take(context, arguments.rows, &mut before).await?;
        context.output.result(&value, |_| text);
        return Ok(Exit::Done);
    }
    let every = Duration::from_millis(arguments.every);
    watch(context, every, async |context| {
        take(context, arguments.rows, &mut before).await
    })
    .await
}

async fn take(context: &mut Context, rows: usize, before: &mut Before) -> Result<Picture, CliError> {
    let (client, admin) = (context.client()?, context.admin()?);
    let status = client.send(&Request::get("/v1/status")).await?;
    let mut runs = client
        .send(&Request::get(&format!("/v1/runs?status=active&limit={rows}")))
        .await?;
    let tree = admin.send(&Request::get("/admin/v1/tree")).await?;
    let now = (
        status["store"]["commits"].as_u64().unwrap_or_default(),
        status["uptime_ms"].as_u64().unwrap_or_default(),
    );
    // Nothing can be told from one picture, nor across two lives.
    let rate = before.replace(now).and_then(|earlier| per_second(earlier, now));
    let actors = busiest(&tree, rows);
    let value = json!({
        "status": status,
        "commits_per_second": rate,
        "actors": actors.iter().map(|actor| {
            json!({
                "path": actor.path,
                "state": actor.state,
                "waiting": actor.waiting,
                "restarts": actor.restarts,
                "uptime_ms": actor.up,
            })
        }).collect::<Vec<_>>(),
        "runs": runs["runs"].take(),
    });
    let text = show(&context.output, &value, &actors, rate);
    Ok(Picture { value, text })
}

fn per_second(earlier: (u64, u64), now: (u64, u64)) -> Option<f64> {
    let commits = now.0.checked_sub(earlier.0)?;
    let ms = now.1.checked_sub(earlier.1).filter(|ms| *ms > 0)?;
    Some((commits as f64 * 10_000.0 / ms as f64).round() / 10.0)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Actor {
    path: String,
    state: String,
    waiting: u64,
    restarts: u64,
    up: Option<u64>,
}

/// The actors of a tree that somebody should look at first: those that do not run, then those for which the most messages
/// wait, then those that were started again the most often, then the youngest.
fn busiest(tree: &Value, rows: usize) -> Vec<Actor> {
    let mut actors = Vec::new();
    let mut left = vec![tree];
    while let Some(node) = left.pop() {
        left.extend(node["children"].as_array().into_iter().flatten());
        let word = |name: &str| node[name].as_str().unwrap_or_default().to_owned();
        actors.push(Actor {
            path: word("path"),
            state: word("state"),
            waiting: node["mailbox"].as_u64().unwrap_or_default(),
            restarts: node["incarnation"].as_u64().unwrap_or(1).saturating_sub(1),
            up: node["uptime_ms"].as_u64(),
        });
    }
    actors.sort_by_cached_key(|actor| {
        (
            actor.state == "running",
            Reverse(actor.waiting),
            Reverse(actor.restarts),
            actor.up,
            actor.path.clone(),
        )
    });
    actors.truncate(rows);
    actors
}

fn show(output: &Output, value: &Value, actors: &[Actor], rate: Option<f64>) -> String {
    let status = &value["status"];
    let number = |value: &Value| value.as_u64().map_or("-".into(), |number| number.to_string());
    let mebibytes = |value: &Value| {
        value
            .as_u64()
            .map_or("-".into(), |bytes| format!("{} MiB", bytes / (1024 * 1024)))
    };
    let state = if status["ready"].as_bool().unwrap_or_default() {
        "ready"
    } else {
        "not ready"
    };
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}  version {}  pid {}  up {}",
        output.status(state),
        one_line(status["version"].as_str().unwrap_or("-"), 32),
        number(&status["pid"]),
        status["uptime_ms"].as_u64().map_or("-".into(), show_ms),
    );
    let _ = writeln!(
        text,
        "runs     {} active, {} parked, {} sessions",
        number(&status["runs"]["active"]),
        number(&status["runs"]["parked"]),
        number(&status["runs"]["sessions"]),
    );
    let _ = writeln!(
        text,
        "process  {} resident, {} open files",
        mebibytes(&status["process"]["resident_bytes"]),
        number(&status["process"]["open_files"]),
    );
    let _ = writeln!(
        text,
        "store    {}, {} commits/s, the last in {} µs, {} waiting; {} free on its disk",
        mebibytes(&status["store"]["bytes"]),
        rate.map_or("-".into(), |rate| rate.to_string()),
        number(&status["store"]["last_commit_us"]),
        number(&status["store"]["queue"]),
        mebibytes(&status["disk"]["free"]),
    );
    let rows: Vec<Vec<String>> = actors.iter().map(|actor| row(output, actor)).collect();
    let _ = write!(
        text,
        "\n{}",
        table(&["ACTOR", "STATE", "WAITING", "RESTARTS", "UP"], &rows)
    );
    let runs = value["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !runs.is_empty() {
        let _ = write!(text, "\n{}", runs_table(output, runs));
    }
    text
}

fn row(output: &Output, actor: &Actor) -> Vec<String> {
    let odd = |number: u64| {
        let text = number.to_string();
        if number == 0 {
            text
        } else {
            output.paint(Tone::Odd, &text)
        }
    };
    vec![
        one_line(&actor.path, 64),
        output.status(&actor.state),
        odd(actor.waiting),
        odd(actor.restarts),
        actor.up.map_or("-".into(), show_ms),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::capture;

    fn tree() -> Value {
        json!({ "path": "root", "state": "running", "uptime_ms": 9000, "children": [
            { "path": "root/a", "state": "running", "mailbox": 3, "incarnation": 1, "uptime_ms": 9000 },
            { "path": "root/b", "state": "running", "mailbox": 0, "incarnation": 4, "uptime_ms": 500 },
            { "path": "root/c", "state": "running", "mailbox": 0, "incarnation": 1, "uptime_ms": 7000, "children": [
                { "path": "root/c/d", "state": "waiting", "mailbox": 0, "incarnation": 2 },
            ]},
        ]})
    }

    #[test]
    fn what_does_not_run_comes_first_then_what_has_the_most_to_do() {
        let check = |rows: usize, expected: &[&str]| {
            let actors = busiest(&tree(), rows);
            let paths: Vec<&str> = actors.iter().map(|actor| actor.path.as_str()).collect();
            assert_eq!(paths, expected);
        };
        check(9, &["root/c/d", "root/a", "root/b", "root/c", "root"]);
        check(2, &["root/c/d", "root/a"]);
    }

    #[test]
    fn commits_are_told_by_the_second_from_two_pictures_of_one_life() {
        let check = |earlier: (u64, u64), now: (u64, u64), expected: Option<f64>| {
            assert_eq!(per_second(earlier, now), expected, "{earlier:?} {now:?}");
        };
        check((10, 1_000), (35, 3_000), Some(12.5));
        check((10, 1_000), (10, 3_000), Some(0.0));
        check((10, 1_000), (10, 1_000), None);
        check((10, 9_000), (3, 100), None);
    }

    #[test]
    fn a_picture_says_what_is_not_known_with_a_dash() {
        let (output, _, _) = capture::output(false);
        let value = json!({
            "status": { "ready": true, "version": "0.1.0", "pid": 7, "uptime_ms": 9000, "store": { "queue": 0 } },
            "runs": [],
        });
        insta::assert_snapshot!(show(&output, &value, &busiest(&tree(), 2), None), @r"
        ready  version 0.1.0  pid 7  up 9.0s
        runs     - active, - parked, - sessions
        process  - resident, - open files
        store    -, - commits/s, the last in - µs, 0 waiting; - free on its disk

        ACTOR     STATE    WAITING  RESTARTS  UP
        root/c/d  waiting  0        1         -
        root/a    running  3        0         9.0s
        ");
    }
}
