//! Answers of a person to what runs wait for: yes or no to a call, and what became of an unknown one.

use serde_json::{Value, json};

use crate::domain::id::RunId;

use super::client::{Client, Request};
use super::context::Context;
use super::error::{CliError, Exit};
use super::follow::fetch;
use super::output::one_line;
use super::prompt::{Said, ask_once};
use super::view::{QuestionView, RunView, read, show_question};

/// Which question is meant.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Its step.
    pub step: Option<String>,
    /// Its call.
    pub call: Option<u32>,
    /// Its hash.
    pub hash: Option<String>,
}

impl Wanted {
    fn means(&self, question: &QuestionView) -> bool {
        self.step.as_ref().is_none_or(|step| *step == question.step)
            && self.call.is_none_or(|call| call == question.call)
    }

    /// The one that is meant of those that are open.
    fn find<'view>(&self, view: &'view RunView, kind: &str) -> Result<Option<&'view QuestionView>, CliError> {
        let open = view.waiting.iter().filter(|question| question.kind == kind);
        let meant: Vec<&QuestionView> = open.filter(|question| self.means(question)).collect();
        match meant[..] {
            [] => Ok(None),
            [question] => Ok(Some(question)),
            _ => {
                let calls = meant
                    .iter()
                    .map(|question| format!("--step {} --call {}", one_line(&question.step, 64), question.call));
                let calls: Vec<String> = calls.collect();
                Err(CliError::usage(
                    "several calls of this run wait for a person",
                    format!("say which: {}", calls.join(", or ")),
                ))
            }
        }
    }
}

/// Agrees to a call, or refuses it.
pub async fn approve(
    context: &mut Context,
    client: &Client,
    id: RunId,
    wanted: &Wanted,
    granted: bool,
    reason: Option<String>,
) -> Result<Exit, CliError> {
    let mut answer = Answer { granted, reason };
    let hash = if let Some(hash) = &wanted.hash {
        hash.clone()
    } else {
        let (view, _) = fetch(client, &id.to_string()).await?;
        let question = wanted.find(&view, "approval")?;
        if let Some(question) = question {
            context.output.note(&show_question(question));
            if granted {
                match seen(context, id, answer)? {
                    Some(said) => answer = said,
                    None => return Ok(Exit::Failed),
                }
            }
        }
        // Without one the gateway says why there is nothing to answer.
        question.map(|question| question.hash.clone()).unwrap_or_default()
    };
    let Answer { granted, reason } = answer;
    let body = json!({ "hash": hash, "granted": granted, "reason": reason.unwrap_or_default() });
    let word = if granted { "agreed" } else { "refused" };
    send(context, client, id, "approve", &body, word).await
}

/// Yes or no, and why.
struct Answer {
    granted: bool,
    reason: Option<String>,
}

/// What a person says who has just been shown the question; none when it is left open. Between an earlier look and this
/// command the call may have become another one, so that a yes without its hash would be to something nobody saw.
fn seen(context: &mut Context, id: RunId, wanted: Answer) -> Result<Option<Answer>, CliError> {
    let answer = |granted: bool, said: String| Answer {
        granted,
        reason: Some(said).filter(|said| !said.is_empty()).or(wanted.reason),
    };
    match ask_once(&mut context.output) {
        Some(Said::Yes(said)) => Ok(Some(answer(true, said))),
        Some(Said::No(said)) => Ok(Some(answer(false, said))),
        Some(Said::Later | Said::Unclear) => {
            context.output.note("left open");
            Ok(None)
        }
        None => Err(CliError::usage(
            "agreeing needs the hash of what was shown",
            format!("`openclaw runs show {id}` shows what waits, with the line that agrees to it"),
        )),
    }
}

/// Says what became of an unknown call.
pub async fn resolve(
    context: &mut Context,
    client: &Client,
    id: RunId,
    wanted: &Wanted,
    resolution: &str,
    output: Option<String>,
) -> Result<Exit, CliError> {
    let (view, _) = fetch(client, &id.to_string()).await?;
    let mut body = json!({ "resolution": resolution });
    if let Some(output) = output {
        body["output"] = output.into();
    }
    if let Some(question) = wanted.find(&view, "unknown")? {
        context.output.note(&show_question(question));
        body["step"] = question.step.clone().into();
        body["call"] = question.call.into();
        // Should somebody else be first, this answer does not count for a later question.
        body["seq"] = question.seq.into();
    } else {
        body["step"] = wanted.step.clone().into();
        body["call"] = wanted.call.into();
    }
    send(context, client, id, "resolve", &body, resolution).await
}

async fn send(
    context: &mut Context,
    client: &Client,
    id: RunId,
    action: &str,
    body: &Value,
    word: &str,
) -> Result<Exit, CliError> {
    let path = format!("/v1/runs/{id}/{action}");
    let value = client.send(&Request::post(&path, body)).await?;
    let view: RunView = read(client, &path, &value)?;
    context
        .output
        .result(&json!({ "run": value }), |_| match view.status.as_str() {
            "active" => format!("{word}; {id} goes on"),
            status => format!("{word}; {id} is {}", one_line(status, 32)),
        });
    Ok(Exit::Done)
}
