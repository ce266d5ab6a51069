//! The promises, as a function of what was observed. Each finding is one sentence; no finding means that all hold.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::Mark;
use super::observe::{Observed, Seen};
use super::scenario::{Kind, SHARED_KEY, Scenario, StepPlan};

/// Facts that no kill may bring about: nothing fails here but by being killed.
const NEVER: [&str; 9] = [
    "run.parked",
    "run.cancel_requested",
    "step.failed",
    "step.skipped",
    "step.cancelled",
    "plan.rejected",
    "handoff.rejected",
    "answer.rejected",
    "check.made",
];

/// What is wrong.
pub fn judge(observed: &Observed) -> Vec<String> {
    let mut judge = Judge {
        observed,
        findings: Vec::new(),
    };
    judge.accepted_runs_are_there();
    judge.keys_are_unique();
    judge.marks_belong_to_steps();
    let mut shared = 0;
    for (run, (task, facts)) in &observed.runs {
        judge.has_one_outcome(run, facts);
        let Some(submitted) = observed.submitted.iter().find(|of| of.scenario.tag == *task) else {
            judge.wrong(run, format!("nobody submitted `{task}`"));
            continue;
        };
        judge.outcome_is_earned(run, facts, &submitted.scenario);
        for step in &submitted.scenario.steps {
            judge.graph_order_is_kept(run, facts, step);
            judge.effect_is_as_promised(run, facts, &submitted.scenario, step);
            shared += u64::from(step.kind == Kind::MemoryShared) * finished_calls(facts, step);
        }
    }
    for wrong in &observed.wrong_figures {
        judge.wrong("all", wrong);
    }
    let version = observed.memory.get(SHARED_KEY).copied().unwrap_or_default();
    if version != shared {
        judge.wrong(
            "all",
            format!("{shared} calls put the shared entry, its version is {version}"),
        );
    }
    judge.findings
}

struct Judge<'of> {
    observed: &'of Observed,
    findings: Vec<String>,
}

fn of_step<'of>(facts: &'of [Seen], step: &'of str, kind: &'of str) -> impl Iterator<Item = &'of Seen> {
    facts
        .iter()
        .filter(move |fact| fact.kind == kind && fact.step() == step)
}

fn is_done(facts: &[Seen], step: &str) -> bool {
    of_step(facts, step, "step.done").next().is_some()
}

fn finished_calls(facts: &[Seen], step: &StepPlan) -> u64 {
    let finished = of_step(facts, &step.id, "call.finished");
    finished.filter(|fact| fact.data["error"] == false).count() as u64
}

fn places<'of>(marks: &'of [Mark], run: &'of str, step: &'of str) -> impl Iterator<Item = usize> {
    let numbered = marks.iter().enumerate();
    numbered
        .filter(move |(_, mark)| mark.run == run && mark.step == step)
        .map(|(place, _)| place)
}

impl Judge<'_> {
    fn wrong(&mut self, run: &str, what: impl Into<String>) {
        self.findings.push(format!("{run}: {}", what.into()));
    }

    /// Accepted is a subset of finished; one submission is one run, however often it was repeated; a run whose id
    /// nobody got is absent or, by the other rules, whole.
    fn accepted_runs_are_there(&mut self) {
        for submitted in &self.observed.submitted {
            let tag = &submitted.scenario.tag;
            let of_tag = self.observed.runs.iter().filter(|(_, (task, _))| task == tag);
            let there: Vec<&String> = of_tag.map(|(run, _)| run).collect();
            if there.len() > 1 {
                self.wrong(tag, format!("submitted once, became {there:?}"));
            }
            for answer in &submitted.answers {
                if !there.contains(&answer) {
                    self.wrong(
                        answer,
                        format!("accepted for `{tag}` and not there; there are {there:?}"),
                    );
                }
            }
        }
    }

    fn keys_are_unique(&mut self) {
        let mut owners: BTreeMap<&str, String> = BTreeMap::new();
        for (run, (_, facts)) in &self.observed.runs {
            let mut intended = BTreeSet::new();
            for fact in facts {
                // What a person says did not happen is made again, and intended anew under its key.
                if fact.kind == "call.resolved" && fact.data["resolution"] == "not_happened" {
                    intended.remove(&format!(
                        "{}/{}/{}",
                        fact.step(),
                        fact.data["attempt"],
                        fact.data["call"]
                    ));
                }
                if fact.kind != "call.intended" {
                    continue;
                }
                let call = format!("{}/{}/{}", fact.step(), fact.data["attempt"], fact.data["call"]);
                if !intended.insert(call.clone()) {
                    self.wrong(run, format!("the call {call} was intended twice"));
                }
                let owner = format!("{run}/{call}");
                let key = fact.data["key"].as_str().unwrap_or_default();
                if let Some(other) = owners.insert(key, owner.clone()).filter(|other| *other != owner) {
                    self.wrong(run, format!("{owner} and {other} have the key {key}"));
                }
            }
        }
    }

    /// What was done was intended: by a step of that class, under its key.
    fn marks_belong_to_steps(&mut self) {
        for mark in self.observed.ledger.iter().chain(&self.observed.attempts) {
            let Some((_, facts)) = self.observed.runs.get(&mark.run) else {
                self.wrong(&mark.run, format!("{mark:?} belongs to no run"));
                continue;
            };
            let mut intents = of_step(facts, &mark.step, "call.intended");
            // The read class has no intent in the journal.
            let known = mark.class == "read"
                || intents.any(|fact| fact.data["key"] == *mark.key && fact.data["class"] == *mark.class);
            if !known {
                self.wrong(&mark.run, format!("{mark:?} was done without an intent"));
            }
        }
    }

    fn has_one_outcome(&mut self, run: &str, facts: &[Seen]) {
        let done = facts.iter().filter(|fact| fact.kind == "run.done").count();
        let reopened = facts.iter().filter(|fact| fact.kind == "run.reopened").count();
        if done != 1 + reopened || facts.last().is_none_or(|fact| fact.kind != "run.done") {
            let kinds: Vec<&str> = facts.iter().rev().take(5).map(|fact| fact.kind.as_str()).collect();
            self.wrong(
                run,
                format!("{done} outcomes; its last facts are, backwards, {kinds:?}"),
            );
        }
        if facts.first().is_none_or(|fact| fact.kind != "run.accepted") {
            self.wrong(run, "does not begin with its acceptance");
        }
        if !facts.is_sorted_by(|one, next| one.seq < next.seq) {
            self.wrong(run, "its facts are not in their order");
        }
    }

    /// A run succeeds; it ends unknown when, and only when, a `once` call was under way at a kill and nobody has said
    /// since what became of it.
    fn outcome_is_earned(&mut self, run: &str, facts: &[Seen], scenario: &Scenario) {
        for fact in facts.iter().filter(|fact| NEVER.contains(&fact.kind.as_str())) {
            self.wrong(run, format!("nothing but kills happened, yet: {}", fact.data));
        }
        let mut interrupted = 0;
        for fact in facts.iter().filter(|fact| fact.kind == "call.unknown") {
            let said = of_step(facts, fact.step(), "call.resolved").any(|said| said.seq > fact.seq);
            interrupted += u32::from(!said);
            let intent = of_step(facts, fact.step(), "call.intended")
                .filter(|intent| intent.seq < fact.seq && intent.data["call"] == fact.data["call"])
                .last();
            let killed_between = intent.is_some_and(|intent| {
                let mut recoveries = facts.iter().filter(|fact| fact.kind == "run.recovered");
                recoveries.any(|recovery| intent.seq < recovery.seq && recovery.seq < fact.seq)
            });
            let key = intent
                .and_then(|intent| intent.data["key"].as_str())
                .unwrap_or_default();
            if self.observed.spooled.contains(key) {
                self.wrong(run, format!("unknown although its report was there: {}", fact.data));
            }
            if !killed_between || intent.is_none_or(|intent| intent.data["class"] != "once") {
                self.wrong(run, format!("unknown without an interrupted once call: {}", fact.data));
            }
        }
        let outcome = facts
            .last()
            .map(|fact| fact.data["outcome"].clone())
            .unwrap_or_default();
        let earned = if interrupted == 0 { "succeeded" } else { "unknown" };
        if outcome != earned {
            self.wrong(
                run,
                format!("ended {outcome} with {interrupted} interrupted once calls"),
            );
        }
        for step in &scenario.steps {
            let times = of_step(facts, &step.id, "step.done").count();
            if times > 1 || (times == 0 && outcome == "succeeded") {
                self.wrong(run, format!("ended {outcome} with step {} done {times} times", step.id));
            }
        }
    }

    fn graph_order_is_kept(&mut self, run: &str, facts: &[Seen], step: &StepPlan) {
        let Some(begun) = of_step(facts, &step.id, "step.leased").next() else {
            return;
        };
        for need in &step.needs {
            let done = of_step(facts, need, "step.done").next();
            if done.is_none_or(|done| done.seq > begun.seq) {
                self.wrong(run, format!("{} began before {need} was done", step.id));
            }
            for (file, marks) in [("ledger", &self.observed.ledger), ("attempts", &self.observed.attempts)] {
                let first = places(marks, run, &step.id).min();
                let last = places(marks, run, need).max();
                if first.zip(last).is_some_and(|(first, last)| first < last) {
                    self.wrong(run, format!("{} is before {need} in the {file}", step.id));
                }
            }
        }
    }

    fn effect_is_as_promised(&mut self, run: &str, facts: &[Seen], scenario: &Scenario, step: &StepPlan) {
        let id = &step.id;
        let done = is_done(facts, id);
        let effects = places(&self.observed.ledger, run, id).count();
        let attempts = places(&self.observed.attempts, run, id).count();
        if step.kind.is_in_ledger() {
            if effects > 1 || (done && effects == 0) {
                let done = if done { "done" } else { "not done" };
                self.wrong(
                    run,
                    format!(
                        "the {:?} step {id} is {done}, its effect happened {effects} times",
                        step.kind
                    ),
                );
            }
            // Only what is made idempotent by its key may be sent again when it has happened; what can be asked also when
            // its program was cut off between the two marks: then the first one has not taken effect.
            let may_repeat = matches!(step.kind, Kind::Idempotent | Kind::Probe);
            let again = of_step(facts, id, "call.resolved").filter(|said| said.data["resolution"] == "not_happened");
            if !may_repeat && attempts > 1 + again.count() {
                self.wrong(run, format!("the {:?} step {id} was sent {attempts} times", step.kind));
            }
        }
        let keys: BTreeSet<&str> = places(&self.observed.attempts, run, id)
            .map(|place| self.observed.attempts[place].key.as_str())
            .collect();
        if keys.len() > 1 {
            self.wrong(
                run,
                format!("the {:?} step {id} was sent under several keys: {keys:?}", step.kind),
            );
        }
        match step.kind {
            Kind::Memory => {
                let version = self
                    .observed
                    .memory
                    .get(&scenario.memory_key_of(step))
                    .copied()
                    .unwrap_or_default();
                let calls = finished_calls(facts, step);
                if version != calls || version != u64::from(done) {
                    self.wrong(
                        run,
                        format!("{calls} calls of {id} put its entry, its version is {version}"),
                    );
                }
            }
            Kind::Write | Kind::Agent if done => {
                let found = self
                    .observed
                    .files
                    .get(&scenario.file_of(step))
                    .map(|text| text.trim_end().to_owned());
                if found.as_deref() != Some(scenario.content_of(step).as_str()) {
                    self.wrong(run, format!("{id} is done, its file holds {found:?}"));
                }
            }
            _ => {}
        }
    }
}

/// Figures of what was observed.
pub fn figures(observed: &Observed) -> String {
    let known = observed
        .submitted
        .iter()
        .filter(|submitted| !submitted.answers.is_empty())
        .count();
    let outcome = |wanted: &str| {
        let last = observed.runs.values().filter_map(|(_, facts)| facts.last());
        last.filter(|fact| fact.data["outcome"] == wanted).count()
    };
    let recoveries = observed.runs.values().flat_map(|(_, facts)| facts);
    let recoveries = recoveries.filter(|fact| fact.kind == "run.recovered").count();
    let class = |marks: &[Mark], wanted: &str| marks.iter().filter(|mark| mark.class == wanted).count();
    let classes = ["once", "idempotent", "probe", "read"].map(|name| {
        let (effects, attempts) = (class(&observed.ledger, name), class(&observed.attempts, name));
        format!("{name} {effects}/{attempts}")
    });
    format!(
        "{} submissions, {known} ids known to clients, {} runs: {} succeeded, {} unknown; {recoveries} times taken up \
         again; effects/attempts: {}; memory puts {}",
        observed.submitted.len(),
        observed.runs.len(),
        outcome("succeeded"),
        outcome("unknown"),
        classes.join(", "),
        observed.memory.values().sum::<u64>(),
    )
}
