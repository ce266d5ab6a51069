//! The trace of a run, out of its journal: pure.
//!
//! **Source**: OpenTelemetry's semantic conventions for generative AI: <https://opentelemetry.io/docs/specs/semconv/gen-ai/>
//! (`chat`, `execute_tool`, `gen_ai.usage.*`). Tasks, prompts, arguments and results are not in it.

use std::collections::BTreeMap;

use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::id::RunId;
use crate::domain::plan::Work;
use crate::domain::run::Outcome;
use crate::domain::text::preview;
use crate::domain::time::UtcMillis;

/// Spans of one run; those that come after are counted on the first.
pub const SPANS_MAX: usize = 2_000;
/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 256;

/// Identifies a span within its trace.
pub type SpanId = [u8; 8];

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// Text.
    Text(String),
    /// A number.
    Number(u64),
}

/// What somebody did for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its id.
    pub id: SpanId,
    /// The span that it is part of; none for the run.
    pub parent: Option<SpanId>,
    /// What was done; from a small set of names.
    pub name: String,
    /// Whether somebody else was asked.
    pub is_client: bool,
    /// When it began.
    pub begun: UtcMillis,
    /// When it ended.
    pub ended: UtcMillis,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// What happened meanwhile.
    pub events: Vec<(UtcMillis, &'static str)>,
    /// Why it failed; none when it did not.
    pub failure: Option<String>,
}

/// The id of what is called so in a run: the same whenever it is told.
fn id(run: RunId, name: &str) -> SpanId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&run.to_bytes());
    hasher.update(name.as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    // All zeros would be no id.
    if id == [0; 8] { [1; 8] } else { id }
}

fn text(value: impl Into<String>) -> Attribute {
    Attribute::Text(value.into())
}

/// Who is open, and what has ended.
struct Trace {
    run: RunId,
    root: SpanId,
    spans: Vec<Span>,
    attempts: BTreeMap<Attempt, Span>,
    turns: BTreeMap<(Attempt, u32), Span>,
    calls: BTreeMap<(Attempt, u32), Span>,
    /// Skills that the models of an attempt asked for, in order, with the time of the answer.
    wanted: BTreeMap<Attempt, Vec<(String, UtcMillis)>>,
    /// Skills that do a step by themselves.
    skills: BTreeMap<String, String>,
}

impl Trace {
    fn span(&self, name: String, unique: &str, of: Option<&Attempt>, begun: UtcMillis) -> Span {
        let parent = of.map_or(self.root, |attempt| id(self.run, &format!("step {attempt}")));
        Span {
            id: id(self.run, unique),
            parent: Some(parent),
            name,
            is_client: false,
            begun,
            ended: begun,
            attributes: Vec::new(),
            events: Vec::new(),
            failure: None,
        }
    }

    fn end(&mut self, span: Option<Span>, at: UtcMillis, failure: Option<&str>) {
        if let Some(mut span) = span {
            span.ended = at.max(span.begun);
            span.failure = failure.map(|failure| preview(failure, REASON_BYTES_MAX));
            self.spans.push(span);
        }
    }

    fn call(&self, attempt: &Attempt, ordinal: u32, skill: Option<&str>, at: UtcMillis) -> Span {
        let wanted = self.wanted.get(attempt).and_then(|calls| calls.get(ordinal as usize));
        let known = wanted
            .map(|(skill, _)| skill)
            .or_else(|| self.skills.get(attempt.step.as_str()));
        let skill = skill.or(known.map(String::as_str)).unwrap_or("unknown");
        let begun = wanted.map_or(at, |(_, asked)| *asked);
        let name = format!("execute_tool {skill}");
        let mut span = self.span(name, &format!("call {attempt} {ordinal}"), Some(attempt), begun);
        span.attributes.push(("gen_ai.operation.name", text("execute_tool")));
        span.attributes.push(("gen_ai.tool.name", text(skill)));
        span
    }

    fn take(&mut self, at: UtcMillis, fact: &Fact) {
        match fact {
            Fact::PlanProposed { plan, .. } => {
                for step in &plan.steps {
                    if let Work::Skill(skill) = &step.work {
                        self.skills.insert(step.id.to_string(), skill.to_string());
                    }
                }
            }
            Fact::StepLeased { attempt, .. } if !self.attempts.contains_key(attempt) => {
                let mut span = self.span(format!("step {}", attempt.step), &format!("step {attempt}"), None, at);
                span.attributes.push(("openclaw.step", text(attempt.step.as_str())));
                span.attributes
                    .push(("openclaw.attempt", Attribute::Number(attempt.number.into())));
                self.attempts.insert(attempt.clone(), span);
            }
            Fact::HandoffSent { attempt, handoff } => {
                if let Some(span) = self.attempts.get_mut(attempt) {
                    span.attributes.push(("gen_ai.agent.name", text(handoff.to.as_str())));
                }
            }
            Fact::TurnIntended {
                attempt,
                turn,
                agent,
                model,
                ..
            } => {
                // One that is repeated after a kill began when it was first sent.
                let name = format!("chat {model}");
                let mut span = self.span(name, &format!("turn {attempt} {turn}"), Some(attempt), at);
                span.is_client = true;
                span.attributes.push(("gen_ai.operation.name", text("chat")));
                span.attributes.push(("gen_ai.request.model", text(model.as_str())));
                span.attributes.push(("gen_ai.agent.name", text(agent.as_str())));
                self.turns.entry((attempt.clone(), *turn)).or_insert(span);
            }
            Fact::TurnFinished {
                attempt, turn, answer, ..
            } => {
                let calls = answer.calls.iter().map(|call| (preview(&call.skill, 64), at));
                self.wanted.entry(attempt.clone()).or_default().extend(calls);
                let mut span = self.turns.remove(&(attempt.clone(), *turn));
                if let Some(span) = &mut span {
                    let usage = answer.usage;
                    span.attributes
                        .push(("gen_ai.response.model", text(preview(&answer.answered_by, 128))));
                    span.attributes
                        .push(("gen_ai.usage.input_tokens", Attribute::Number(usage.input)));
                    span.attributes
                        .push(("gen_ai.usage.output_tokens", Attribute::Number(usage.output)));
                }
                self.end(span, at, None);
            }
            Fact::TurnFailed {
                attempt, turn, reason, ..
            } => {
                let span = self.turns.remove(&(attempt.clone(), *turn));
                self.end(span, at, Some(reason));
            }
            Fact::CallIntended {
                attempt,
                ordinal,
                skill,
                key,
                ..
            } => {
                let mut span = self.call(attempt, *ordinal, Some(skill.as_str()), at);
                span.begun = at;
                span.attributes.push(("gen_ai.tool.call.id", text(key.to_string())));
                self.calls.entry((attempt.clone(), *ordinal)).or_insert(span);
            }
            Fact::CallFinished {
                attempt,
                ordinal,
                outcome,
            } => {
                let open = self.calls.remove(&(attempt.clone(), *ordinal));
                let span = open.unwrap_or_else(|| self.call(attempt, *ordinal, None, at));
                self.end(Some(span), at, outcome.is_error.then_some("the skill reports an error"));
            }
            Fact::CallUnknown { attempt, ordinal, .. } => {
                let open = self.calls.remove(&(attempt.clone(), *ordinal));
                self.end(open, at, Some("whether it happened is not known"));
            }
            Fact::StepDone { attempt, .. } => {
                let span = self.attempts.remove(attempt);
                self.end(span, at, None);
            }
            Fact::StepFailed { attempt, reason, .. } => {
                let span = self.attempts.remove(attempt);
                self.end(span, at, Some(reason));
            }
            Fact::StepUnknown { attempt, .. } => {
                let span = self.attempts.remove(attempt);
                self.end(span, at, Some("whether an effect happened is not known"));
            }
            _ => {}
        }
    }
}

/// The spans of a run that has ended, the run first; none when the journal does not say that it was accepted and ended.
pub fn spans(run: RunId, facts: &[Stamped]) -> Vec<Span> {
    let root = id(run, "run");
    let mut trace = Trace {
        run,
        root,
        spans: Vec::new(),
        attempts: BTreeMap::new(),
        turns: BTreeMap::new(),
        calls: BTreeMap::new(),
        wanted: BTreeMap::new(),
        skills: BTreeMap::new(),
    };
    let mut whole = None;
    let mut has_ended = false;
    for Stamped { at, fact, .. } in facts {
        match (fact, &mut whole) {
            (Fact::RunAccepted(spec), None) => {
                let mut span = trace.span("run".to_owned(), "run", None, *at);
                span.parent = None;
                span.attributes.push(("openclaw.run", text(run.to_string())));
                span.attributes
                    .push(("openclaw.origin", text(preview(&spec.origin, 128))));
                if let Some(agent) = &spec.agent {
                    span.attributes.push(("gen_ai.agent.name", text(agent.as_str())));
                }
                whole = Some(span);
            }
            (Fact::RunRecovered { .. }, Some(span)) => span.events.push((*at, "recovered")),
            (Fact::RunReopened { .. }, Some(span)) => span.events.push((*at, "reopened")),
            (Fact::ApprovalAsked { .. }, Some(span)) => span.events.push((*at, "approval asked")),
            (Fact::ApprovalGiven { .. }, Some(span)) => span.events.push((*at, "approval given")),
            (Fact::RunDone { outcome, result }, Some(span)) => {
                has_ended = true;
                span.ended = (*at).max(span.begun);
                span.attributes.retain(|(name, _)| *name != "openclaw.outcome");
                span.attributes.push(("openclaw.outcome", text(outcome.as_str())));
                span.failure = (*outcome != Outcome::Succeeded).then(|| preview(result, REASON_BYTES_MAX));
            }
            _ => trace.take(*at, fact),
        }
    }
    let Some(mut whole) = whole.filter(|_| has_ended) else {
        return Vec::new();
    };
    // What a cancelled run had under way ended with it.
    let open = std::mem::take(&mut trace.attempts).into_values();
    let open = open.chain(std::mem::take(&mut trace.turns).into_values());
    let open: Vec<Span> = open.chain(std::mem::take(&mut trace.calls).into_values()).collect();
    for span in open {
        trace.end(Some(span), whole.ended, Some("it ended with the run"));
    }
    let mut spans = trace.spans;
    if spans.len() >= SPANS_MAX {
        let dropped = spans.len() - (SPANS_MAX - 1);
        whole
            .attributes
            .push(("openclaw.spans.dropped", Attribute::Number(dropped as u64)));
        spans.truncate(SPANS_MAX - 1);
    }
    spans.insert(0, whole);
    spans
}
