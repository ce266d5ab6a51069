//! `openclaw tree`: the tree of supervised actors.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::cli::arguments::TreeArguments;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::duration::show_ms;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Output, Tone, one_line};
use crate::cli::screen::{Picture, watch};

/// Nesting that is drawn; a deeper tree is cut.
const DEPTH_MAX: usize = 32;

/// Draws it, again and again when it is to be watched.
pub async fn run(context: &mut Context, arguments: &TreeArguments) -> Result<Exit, CliError> {
    if arguments.watch {
        return watch(context, Duration::from_millis(arguments.every), take).await;
    }
    let Picture { value, text } = take(context).await?;
    context.output.result(&value, |_| text);
    Ok(Exit::Done)
}

async fn take(context: &mut Context) -> Result<Picture, CliError> {
    let value = context.admin()?.send(&Request::get("/admin/v1/tree")).await?;
    let mut text = String::new();
    draw(&context.output, &value, "", None, 0, &mut text);
    Ok(Picture { value, text })
}

fn draw(output: &Output, node: &Value, indent: &str, last: Option<bool>, depth: usize, text: &mut String) {
    let (branch, below) = match last {
        None => ("", ""),
        Some(false) => ("├─ ", "│  "),
        Some(true) => ("└─ ", "   "),
    };
    let _ = writeln!(text, "{indent}{branch}{}", describe(output, node, last.is_none()));
    let children = node["children"].as_array().map(Vec::as_slice).unwrap_or_default();
    if depth == DEPTH_MAX && !children.is_empty() {
        let _ = writeln!(text, "{indent}{below}└─ …");
        return;
    }
    let indent = format!("{indent}{below}");
    for (index, child) in children.iter().enumerate() {
        draw(
            output,
            child,
            &indent,
            Some(index + 1 == children.len()),
            depth + 1,
            text,
        );
    }
}

fn describe(output: &Output, node: &Value, is_root: bool) -> String {
    let word = |name: &str| node[name].as_str().map(|text| one_line(text, 80)).unwrap_or_default();
    let path = word("path");
    // The place in the tree says the rest of the path.
    let name = if is_root {
        path.as_str()
    } else {
        path.rsplit('/').next().unwrap_or_default()
    };
    let mut parts = vec![output.paint(Tone::Strong, name)];
    parts.extend(
        [word("kind"), word("strategy")]
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|part| output.paint(Tone::Dim, &part)),
    );
    let state = word("state");
    if !state.is_empty() {
        parts.push(output.status(&state));
    }
    if let Some(restarts) = node["restarts"].as_u64().filter(|restarts| *restarts > 0) {
        parts.push(output.paint(Tone::Odd, &format!("{restarts} restarts")));
    }
    if let Some(incarnation) = node["incarnation"].as_u64().filter(|incarnation| *incarnation > 1) {
        parts.push(format!("incarnation {incarnation}"));
    }
    if let Some(mailbox) = node["mailbox"].as_u64().filter(|depth| *depth > 0) {
        parts.push(format!("{mailbox} waiting"));
    }
    if let Some(up) = node["uptime_ms"].as_u64() {
        parts.push(output.paint(Tone::Dim, &format!("up {}", show_ms(up))));
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::output::capture;

    #[test]
    fn a_tree_is_drawn_with_its_branches() {
        let tree = json!({ "path": "root", "strategy": "rest_for_one", "state": "running", "children": [
            { "path": "root/storage", "kind": "supervisor", "state": "running", "restarts": 2, "incarnation": 3, "children": [
                { "path": "root/storage/committer", "kind": "worker", "state": "running", "mailbox": 3, "uptime_ms": 1500 },
            ]},
            { "path": "root/gateway", "kind": "supervisor", "state": "running", "children": [] },
        ]});
        let (output, _, _) = capture::output(false);
        let mut text = String::new();
        draw(&output, &tree, "", None, 0, &mut text);
        insta::assert_snapshot!(text, @r"
        root  rest_for_one  running
        ├─ storage  supervisor  running  2 restarts  incarnation 3
        │  └─ committer  worker  running  3 waiting  up 1.5s
        └─ gateway  supervisor  running
        ");
    }
}
