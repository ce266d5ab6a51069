//! What a person sees while a run goes on: bars on a terminal, plain lines elsewhere, JSON lines for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::events::RunEvent;
use super::output::{Output, Tone, harmless, one_line};
use super::view::between;

/// Bytes of a line of an answer that is shown before its end.
const LINE_BYTES_MAX: usize = 2_000;

/// Shows the events of one run.
pub struct Progress {
    bars: Option<MultiProgress>,
    open: BTreeMap<String, ProgressBar>,
    /// What has arrived of answers and is no whole line yet, by step.
    texts: BTreeMap<String, String>,
    began_at: Option<String>,
}

/// What an event is to a reader.
struct Line {
    tone: Tone,
    word: &'static str,
    /// Shown without `-v`.
    important: bool,
}

fn line(kind: &str) -> Option<Line> {
    let (tone, word, important) = match kind {
        "run.accepted" => (Tone::Dim, "accepted", true),
        "run.recovered" => (Tone::Odd, "taken up again after a restart", true),
        "plan.accepted" => (Tone::Dim, "plan accepted", true),
        "plan.rejected" => (Tone::Odd, "plan rejected", true),
        "plan.proposed" => (Tone::Dim, "plan proposed", false),
        "step.leased" => (Tone::Dim, "started", true),
        "step.done" => (Tone::Good, "done", true),
        "step.failed" => (Tone::Bad, "failed", true),
        "step.skipped" => (Tone::Dim, "skipped", true),
        "step.cancelled" => (Tone::Dim, "cancelled", true),
        "step.unknown" => (Tone::Odd, "outcome unknown", true),
        "check.passed" => (Tone::Good, "check passed", false),
        "check.failed" => (Tone::Odd, "check failed", true),
        "turn.failed" => (Tone::Odd, "model request failed", true),
        "turn.deferred" => (Tone::Dim, "waits for its model", true),
        "step.rested" => (Tone::Odd, "rests without a slot", true),
        "answer.rejected" => (Tone::Odd, "answer rejected", true),
        "handoff.rejected" => (Tone::Odd, "hand-off rejected", true),
        "call.unknown" => (Tone::Odd, "call unknown", true),
        "call.dead_lettered" => (Tone::Bad, "call crashed again and again", true),
        "call.resolved" => (Tone::Dim, "a person said what became of a call", true),
        "approval.asked" => (Tone::Odd, "waits for a person's yes", true),
        "approval.given" => (Tone::Dim, "was answered", true),
        "compensation.queued" => (Tone::Odd, "will be undone", true),
        "run.reopened" => (Tone::Odd, "goes on", true),
        "turn.intended" => (Tone::Dim, "asks its model", false),
        "turn.finished" => (Tone::Dim, "model answered", false),
        "call.intended" => (Tone::Dim, "call begins", false),
        "call.finished" => (Tone::Dim, "call ended", false),
        "handoff.sent" => (Tone::Dim, "hand-off sent", false),
        "handoff.accepted" => (Tone::Dim, "hand-off accepted", false),
        "run.cancel_requested" => (Tone::Odd, "ends as soon as its work has ended", true),
        "run.parked" => (Tone::Odd, "parked until a person looks", true),
        "run.done" => (Tone::Strong, "ended", true),
        _ => return None,
    };
    Some(Line { tone, word, important })
}

impl Progress {
    /// Bars when the output is a terminal.
    pub fn new(output: &Output) -> Self {
        let bars = output
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self {
            bars,
            open: BTreeMap::new(),
            texts: BTreeMap::new(),
            began_at: None,
        }
    }

    /// Shows one event.
    pub fn event(&mut self, output: &mut Output, event: &RunEvent) {
        if output.is_json() {
            output.json_line(&json!({ "event": event.kind, "seq": event.seq, "data": event.data }));
            return;
        }
        if event.seq.is_none() {
            self.piece(output, event);
            return;
        }
        let at = event.data["at"].as_str().map(str::to_owned);
        if self.began_at.is_none() {
            self.began_at.clone_from(&at);
        }
        let step = event.data["step"].as_str().map(|step| one_line(step, 64));
        if let Some(step) = &step
            && matches!(event.kind.as_str(), "turn.finished" | "turn.failed")
        {
            self.flush(output, step);
        }
        if let (Some(bars), Some(step)) = (&self.bars, &step) {
            match event.kind.as_str() {
                "step.leased" => {
                    let bar = bars.add(ProgressBar::new_spinner());
                    if let Ok(style) = ProgressStyle::with_template("  {spinner} {prefix} {msg} {elapsed}") {
                        bar.set_style(style);
                    }
                    bar.set_prefix(step.clone());
                    bar.enable_steady_tick(Duration::from_millis(120));
                    if let Some(old) = self.open.insert(step.clone(), bar) {
                        old.finish_and_clear();
                    }
                }
                "step.done" | "step.failed" | "step.rested" | "step.skipped" | "step.cancelled" | "step.unknown" => {
                    if let Some(bar) = self.open.remove(step) {
                        bar.finish_and_clear();
                    }
                }
                kind => {
                    if let (Some(bar), Some(line)) = (self.open.get(step), line(kind)) {
                        bar.set_message(line.word);
                    }
                }
            }
        }
        let Some(line) = line(&event.kind) else { return };
        // A bar shows the start of a step already.
        let drawn = self.bars.is_some() && event.kind == "step.leased";
        if (!line.important || drawn) && output.verbosity() == 0 {
            return;
        }
        let text = self.text(output, event, &line, at.as_deref(), step.as_deref());
        match &self.bars {
            Some(bars) if !output.is_quiet() => bars.suspend(|| output.note(&text)),
            _ => output.note(&text),
        }
    }

    fn text(&self, output: &Output, event: &RunEvent, line: &Line, at: Option<&str>, step: Option<&str>) -> String {
        let offset = between(self.began_at.as_deref(), at).unwrap_or_default();
        let time = format!("+{}.{}s", offset / 1000, offset % 1000 / 100);
        let attempt = event.data["attempt"].as_u64().filter(|attempt| *attempt > 1);
        let attempt = attempt.map_or(String::new(), |attempt| format!(" (attempt {attempt})"));
        let detail = ["reason", "text", "evidence", "outcome"]
            .iter()
            .find_map(|name| event.data[*name].as_str())
            .map_or(String::new(), |text| format!(": {}", one_line(text, 160)));
        let word = output.paint(line.tone, line.word);
        let text = format!("{time:>8}  {:<20} {word}{attempt}{detail}", step.unwrap_or("run"));
        text.trim_end().to_owned()
    }

    /// Shows a piece of an answer as it arrives, line by line, so that steps at work side by side stay readable.
    fn piece(&mut self, output: &mut Output, event: &RunEvent) {
        let Some(step) = event.data["step"].as_str().map(|step| one_line(step, 64)) else {
            return;
        };
        if event.kind == "restart" {
            self.flush(output, &step);
            self.say(
                output,
                &step,
                "(asked again: what was shown of this answer does not count)",
            );
            return;
        }
        if event.kind != "delta" || event.data["type"] != "text" {
            return;
        }
        let text = self.texts.entry(step.clone()).or_default();
        text.push_str(event.data["text"].as_str().unwrap_or_default());
        let mut lines: Vec<String> = Vec::new();
        while let Some(end) = text.find('\n') {
            lines.push(text.drain(..=end).collect());
        }
        // A line without an end is shown in parts.
        if text.len() > LINE_BYTES_MAX {
            lines.push(std::mem::take(text));
        }
        if let Some(bar) = self.open.get(&step) {
            let skipped = text.chars().count().saturating_sub(60);
            let tail: String = text.chars().skip(skipped).collect();
            bar.set_message(one_line(&tail, 240));
        }
        for line in lines {
            self.say(output, &step, &line);
        }
    }

    /// Shows what has arrived of an answer that is over.
    fn flush(&mut self, output: &mut Output, step: &str) {
        if let Some(text) = self.texts.remove(step).filter(|text| !text.is_empty()) {
            self.say(output, step, &text);
        }
    }

    fn say(&self, output: &mut Output, step: &str, line: &str) {
        let line = harmless(line.trim_end());
        let text = format!("{:>8}  {step:<20} {}", "", output.paint(Tone::Dim, &line));
        match &self.bars {
            Some(bars) if !output.is_quiet() => bars.suspend(|| output.note(&text)),
            _ => output.note(&text),
        }
    }

    /// Shows something that is no event.
    pub fn note(&self, output: &mut Output, text: &str) {
        match &self.bars {
            Some(bars) if !output.is_quiet() => bars.suspend(|| output.note(text)),
            _ => output.note(text),
        }
    }

    /// Takes the bars away.
    pub fn finish(&mut self) {
        for bar in std::mem::take(&mut self.open).into_values() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
