//! A picture that is drawn again and again: in place on a terminal, one after the other elsewhere.

use std::fmt::Write as _;
use std::time::Duration;

use console::Term;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::context::Context;
use super::error::{CliError, Exit};
use super::output::Output;

/// What is drawn.
pub struct Picture {
    /// For programs.
    pub value: Value,
    /// For people.
    pub text: String,
}

/// Takes a picture and draws it, each time anew, until nobody reads any more. The first one has to succeed; what fails
/// later is shown in its place, because what is watched may be on its way back.
///
/// **Cancel**: ends it; Ctrl-C does.
pub async fn watch(
    context: &mut Context,
    every: Duration,
    mut take: impl AsyncFnMut(&mut Context) -> Result<Picture, CliError>,
) -> Result<Exit, CliError> {
    let mut pace = interval(every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut picture = take(context).await?;
    pace.reset();
    loop {
        draw(&mut context.output, &picture, Term::stdout().size().0);
        if context.output.is_gone() {
            return Ok(Exit::Done);
        }
        pace.tick().await;
        picture = match take(context).await {
            Ok(picture) => picture,
            Err(error) => Picture {
                value: error.to_json(),
                text: error.to_text(),
            },
        };
    }
}

fn draw(output: &mut Output, picture: &Picture, height: u16) {
    if output.is_json() {
        output.json_line(&picture.value);
    } else if output.is_terminal() {
        let frame = frame(&picture.text, height);
        output.raw(&frame);
    } else {
        let text = format!("{}\n\n", picture.text.trim_end());
        output.print(&text);
    }
}

/// A picture over the one before: from the first line of the terminal on, the rest of each line and of the screen
/// cleared, so that nothing flickers. What the terminal has no lines for is counted.
fn frame(text: &str, height: u16) -> String {
    let lines: Vec<&str> = text.lines().collect();
    // The last line of the terminal stays free: a line break there would move all others.
    let room = usize::from(height.max(3)) - 1;
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    let mut frame = String::from("\u{1b}[H");
    for line in &lines[..shown] {
        frame.push_str(line);
        frame.push_str("\u{1b}[K\r\n");
    }
    if shown < lines.len() {
        let _ = write!(frame, "… {} more lines\u{1b}[K\r\n", lines.len() - shown);
    }
    frame.push_str("\u{1b}[J");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_is_higher_than_the_terminal_says_how_much_is_left_out() {
        let check = |text: &str, height: u16, expected: &str| {
            let shown = frame(text, height);
            let shown = shown
                .replace("\u{1b}[H", "")
                .replace("\u{1b}[K\r\n", "|")
                .replace("\u{1b}[J", "");
            assert_eq!(shown, expected, "{height} lines");
        };
        check("a\nb\nc\n", 24, "a|b|c|");
        check("a\nb\nc\n", 4, "a|b|c|");
        check("a\nb\nc\nd\n", 4, "a|b|… 2 more lines|");
        check("a\nb\nc\n", 0, "a|… 2 more lines|");
        check("", 24, "");
    }
}
