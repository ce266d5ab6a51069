//! Questions of a run that is followed, answered at the terminal: y or n, with a reason or an answer after it.
//!
//! Invariants: only a person at a terminal is asked; an answer counts for exactly what was shown (its hash goes with
//! it); what somebody else answers first is no longer asked here. Reading the terminal never holds up the events.

use std::collections::VecDeque;
use std::io::{BufRead as _, IsTerminal as _};

use serde_json::json;
use tokio::sync::mpsc;

use super::client::{Client, Request};
use super::error::CliError;
use super::events::RunEvent;
use super::output::{Output, one_line};
use super::view::{QuestionView, RunView, read, show_question};

/// Lines that may wait to be understood.
const LINES_MAX: usize = 16;
/// What may be typed.
const HOW: &str = "[y]es or [n]o, with a reason or an answer after it; an empty line leaves it open";

/// What a line says to the question on top.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// It may be done; with an answer.
    Yes(String),
    /// It may not be done; with a reason.
    No(String),
    /// Nothing.
    Later,
    /// Nothing that can be understood.
    Unclear,
}

fn understand(line: &str) -> Said {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim().to_owned();
    match word.to_ascii_lowercase().as_str() {
        "y" | "yes" => Said::Yes(rest),
        "n" | "no" => Said::No(rest),
        "" => Said::Later,
        _ => Said::Unclear,
    }
}

/// Asks the person at the terminal once about what was shown; nothing is said where there is no such person.
pub fn ask_once(output: &mut Output) -> Option<Said> {
    if !output.is_terminal() || !std::io::stdin().is_terminal() {
        return None;
    }
    output.note(HOW);
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).ok()?;
    Some(understand(&line))
}

/// Asks the person at the terminal, if there is one.
pub struct Prompt {
    /// Lines as they are typed; opened with the first question, so that nothing else loses its input.
    lines: Option<mpsc::Receiver<String>>,
    open: VecDeque<QuestionView>,
    asks: bool,
}

impl Prompt {
    /// Asks when the input is a terminal and the output is for a person.
    pub fn new(output: &Output) -> Self {
        let is_for_person = !output.is_json() && !output.is_quiet();
        Self {
            lines: None,
            open: VecDeque::new(),
            asks: is_for_person && std::io::stdin().is_terminal(),
        }
    }

    /// Takes an event in; gives what is to be shown for it.
    pub async fn event(&mut self, client: &Client, run: &str, event: &RunEvent) -> Result<Option<String>, CliError> {
        if !self.asks {
            return Ok(None);
        }
        let hash = event.data["hash"].as_str().unwrap_or_default();
        match event.kind.as_str() {
            "approval.asked" => {
                // The event is cut where it is long, and it may be old; the run says what is asked now.
                let path = format!("/v1/runs/{run}");
                let value = client.send(&Request::get(&path)).await?;
                let view: RunView = read(client, &path, &value)?;
                let asked = view.waiting.into_iter().find(|question| question.hash == hash);
                let Some(question) = asked else { return Ok(None) };
                self.open.push_back(question);
                Ok((self.open.len() == 1).then(|| self.ask()).flatten())
            }
            "approval.given" => {
                let was_top = self.open.front().is_some_and(|question| question.hash == hash);
                self.open.retain(|question| question.hash != hash);
                let next = if was_top { self.ask() } else { None };
                let by = one_line(event.data["by"].as_str().unwrap_or("-"), 64);
                let told = was_top.then(|| format!("answered by {by}"));
                Ok(match (told, next) {
                    (Some(told), Some(next)) => Some(format!("{told}\n{next}")),
                    (told, next) => told.or(next),
                })
            }
            _ => Ok(None),
        }
    }

    /// The question on top, as it is shown.
    fn ask(&mut self) -> Option<String> {
        let question = self.open.front()?;
        let shown = format!("{}\n{HOW}", show_question(question));
        if self.lines.is_none() {
            let (typed, lines) = mpsc::channel(LINES_MAX);
            // The terminal cannot be read without blocking; the thread ends with its input or with the program.
            std::thread::spawn(move || {
                for line in std::io::stdin().lock().lines() {
                    if line.map_or(true, |line| typed.blocking_send(line).is_err()) {
                        return;
                    }
                }
            });
            self.lines = Some(lines);
        }
        Some(shown)
    }

    /// The next line that was typed while something is asked; never comes back when nobody is asked.
    ///
    /// **Cancel**: nothing is lost.
    pub async fn line(&mut self) -> String {
        if !self.open.is_empty()
            && let Some(lines) = &mut self.lines
        {
            if let Some(line) = lines.recv().await {
                return line;
            }
            // The input is at its end: the question stays open for others.
            self.asks = false;
            self.open.clear();
        }
        std::future::pending().await
    }

    /// Answers the question on top; gives what is to be shown.
    pub async fn answer(&mut self, client: &Client, run: &str, line: &str) -> Option<String> {
        let question = self.open.front()?;
        let (granted, reason) = match understand(line) {
            Said::Yes(reason) => (true, reason),
            Said::No(reason) => (false, reason),
            Said::Unclear => return Some(HOW.to_owned()),
            Said::Later => {
                self.open.pop_front();
                return self.ask().or_else(|| Some("left open".to_owned()));
            }
        };
        let body = json!({ "hash": question.hash, "granted": granted, "reason": reason });
        let path = format!("/v1/runs/{run}/approve");
        match client.send(&Request::post(&path, &body)).await {
            // The event that says so follows.
            Ok(_) => None,
            Err(error) => {
                self.open.pop_front();
                let told = crate::domain::fault::in_one_line(&error);
                Some(match self.ask() {
                    Some(next) => format!("{told}\n{next}"),
                    None => told,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_yes_a_no_or_neither() {
        let check = |line: &str, said: Said| assert_eq!(understand(line), said, "{line:?}");
        check("y", Said::Yes(String::new()));
        check(" YES the east one \n", Said::Yes("the east one".to_owned()));
        check("n", Said::No(String::new()));
        check("no not today", Said::No("not today".to_owned()));
        check("", Said::Later);
        check("  ", Said::Later);
        check("yesterday", Said::Unclear);
        check("openclaw", Said::Unclear);
    }
}
