//! What makes a plan acceptable: no cycle, no dangling reference, within the limits, possible in the time given.

use std::collections::{BTreeMap, BTreeSet};

use super::handoff::Finding;
use super::limits::{PLAN_DEPTH_MAX, PLAN_STEPS_MAX, STEP_CHECKS_MAX, STEP_NEEDS_MAX, TASK_BYTES_MAX};
use super::name::{AgentName, SkillName, StepId};
use super::plan::{Input, Join, Plan, Work};

/// The id that the planning step itself has; a plan may not use it.
pub const PLANNING_STEP: &str = "plan";

/// What a plan is held against.
pub struct Surroundings<'a> {
    /// The agents that exist.
    pub agents: &'a BTreeSet<AgentName>,
    /// The skills that exist.
    pub skills: &'a BTreeSet<SkillName>,
    /// Milliseconds until the run expires.
    pub remaining_ms: u64,
    /// Tokens that the run may still use; none means no limit.
    pub remaining_tokens: Option<u64>,
}

/// The longest estimated time from the start of each step to the end of the plan, in milliseconds.
pub type Ranks = BTreeMap<StepId, u64>;

/// Checks a plan; all findings are given, each with the pointer of its place.
pub fn admit(plan: &Plan, around: &Surroundings<'_>) -> Result<(), Vec<Finding>> {
    let mut findings = Vec::new();
    if plan.steps.is_empty() {
        findings.push(Finding::new("/steps", "a plan has at least one step"));
    }
    if plan.steps.len() > PLAN_STEPS_MAX {
        let message = format!("{} steps; at most {PLAN_STEPS_MAX} are allowed", plan.steps.len());
        return Err(vec![Finding::new("/steps", message)]);
    }
    let mut index_of: BTreeMap<&StepId, usize> = BTreeMap::new();
    for (index, step) in plan.steps.iter().enumerate() {
        if step.id.as_str() == PLANNING_STEP {
            findings.push(Finding::new(
                format!("/steps/{index}/id"),
                "`plan` is reserved for the planning step",
            ));
        }
        if index_of.insert(&step.id, index).is_some() {
            findings.push(Finding::new(
                format!("/steps/{index}/id"),
                format!("`{}` is used twice", step.id),
            ));
        }
    }
    if let Some(result) = &plan.result
        && !index_of.contains_key(result)
    {
        findings.push(Finding::new("/result", format!("there is no step `{result}`")));
    }
    for (index, step) in plan.steps.iter().enumerate() {
        let at = format!("/steps/{index}");
        check_work(&at, &step.work, around, &mut findings);
        if step.task.len() > TASK_BYTES_MAX {
            findings.push(Finding::new(
                format!("{at}/task"),
                format!("over {TASK_BYTES_MAX} bytes"),
            ));
        }
        if step.needs.len() > STEP_NEEDS_MAX {
            findings.push(Finding::new(
                format!("{at}/needs"),
                format!("more than {STEP_NEEDS_MAX}"),
            ));
        }
        if step.checks.len() > STEP_CHECKS_MAX {
            findings.push(Finding::new(
                format!("{at}/checks"),
                format!("more than {STEP_CHECKS_MAX}"),
            ));
        }
        for (position, need) in step.needs.iter().enumerate() {
            if !index_of.contains_key(&need.step) {
                let message = format!("there is no step `{}`", need.step);
                findings.push(Finding::new(format!("{at}/needs/{position}"), message));
            }
        }
        if let Join::AtLeast(count) = step.join
            && count as usize > step.needs.len()
        {
            let message = format!("{count} of {} needs can never be met", step.needs.len());
            findings.push(Finding::new(format!("{at}/join"), message));
        }
        if let Some(undo) = &step.undo
            && !around.skills.contains(&undo.skill)
        {
            let message = format!("there is no skill `{}`", undo.skill);
            findings.push(Finding::new(format!("{at}/undo/skill"), message));
        }
        for skill in step.skills.iter().flatten() {
            if !around.skills.contains(skill) {
                findings.push(Finding::new(
                    format!("{at}/skills"),
                    format!("there is no skill `{skill}`"),
                ));
            }
        }
    }
    if !findings.is_empty() {
        return Err(findings);
    }

    // From here on every reference points somewhere.
    let depths = match topological_depths(plan, &index_of) {
        Ok(depths) => depths,
        Err(cycle) => {
            let names: Vec<&str> = cycle.iter().map(|index| plan.steps[*index].id.as_str()).collect();
            let at = format!("/steps/{}/needs", cycle[0]);
            return Err(vec![Finding::new(
                at,
                format!("these steps wait for each other: {}", names.join(" → ")),
            )]);
        }
    };
    if let Some((index, depth)) = depths.iter().enumerate().max_by_key(|(_, depth)| **depth)
        && *depth > PLAN_DEPTH_MAX
    {
        let message = format!("a chain of {depth} steps; at most {PLAN_DEPTH_MAX} are allowed");
        findings.push(Finding::new(format!("/steps/{index}"), message));
    }
    check_inputs(plan, &index_of, &mut findings);
    let longest_ms = ranks(plan).into_values().max().unwrap_or(0);
    if longest_ms > around.remaining_ms {
        let message = format!(
            "the longest path takes {longest_ms} ms, {} ms are left",
            around.remaining_ms
        );
        findings.push(Finding::new("/steps", message));
    }
    let tokens: u64 = plan
        .steps
        .iter()
        .fold(0, |sum, step| sum.saturating_add(step.estimated_tokens));
    if let Some(left) = around.remaining_tokens
        && tokens > left
    {
        findings.push(Finding::new(
            "/steps",
            format!("{tokens} tokens are estimated, {left} are left"),
        ));
    }
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

fn check_work(at: &str, work: &Work, around: &Surroundings<'_>, findings: &mut Vec<Finding>) {
    match work {
        Work::Agent(agent) if !around.agents.contains(agent) => {
            let known: Vec<&str> = around.agents.iter().map(AgentName::as_str).collect();
            let message = format!("there is no agent `{agent}`; known are {}", known.join(", "));
            findings.push(Finding::new(format!("{at}/agent"), message));
        }
        Work::Skill(skill) if !around.skills.contains(skill) => {
            findings.push(Finding::new(
                format!("{at}/skill"),
                format!("there is no skill `{skill}`"),
            ));
        }
        _ => {}
    }
}

/// Kahn's algorithm; gives each step's depth (1 for a step without needs), or one cycle.
fn topological_depths(plan: &Plan, index_of: &BTreeMap<&StepId, usize>) -> Result<Vec<usize>, Vec<usize>> {
    let count = plan.steps.len();
    let mut open: Vec<usize> = vec![0; count];
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (index, step) in plan.steps.iter().enumerate() {
        let needs: BTreeSet<usize> = step.needs.iter().map(|need| index_of[&need.step]).collect();
        open[index] = needs.len();
        for need in needs {
            dependents[need].push(index);
        }
    }
    let mut depths = vec![1; count];
    let mut ready: Vec<usize> = (0..count).filter(|index| open[*index] == 0).collect();
    let mut visited = 0;
    while let Some(index) = ready.pop() {
        visited += 1;
        for &dependent in &dependents[index] {
            depths[dependent] = depths[dependent].max(depths[index] + 1);
            open[dependent] -= 1;
            if open[dependent] == 0 {
                ready.push(dependent);
            }
        }
    }
    if visited == count {
        return Ok(depths);
    }
    // Every step that is left has a need that is left: walking those must come round.
    let mut path: Vec<usize> = Vec::new();
    let mut at = (0..count)
        .find(|index| open[*index] > 0)
        .expect("some step was not visited");
    loop {
        if let Some(start) = path.iter().position(|seen| *seen == at) {
            return Err(path.split_off(start));
        }
        path.push(at);
        let needs = plan.steps[at].needs.iter().map(|need| index_of[&need.step]);
        at = needs
            .into_iter()
            .find(|need| open[*need] > 0)
            .expect("a step that is left needs one that is left");
    }
}

/// An input may only come from a step that is needed, directly or over others; otherwise it could run first.
fn check_inputs(plan: &Plan, index_of: &BTreeMap<&StepId, usize>, findings: &mut Vec<Finding>) {
    for (index, step) in plan.steps.iter().enumerate() {
        let mut ancestors: BTreeSet<usize> = BTreeSet::new();
        let mut open: Vec<usize> = step.needs.iter().map(|need| index_of[&need.step]).collect();
        while let Some(ancestor) = open.pop() {
            if ancestors.insert(ancestor) {
                open.extend(plan.steps[ancestor].needs.iter().map(|need| index_of[&need.step]));
            }
        }
        let own = step.inputs.iter().map(|named| ("inputs", named));
        let of_undo = step.undo.iter().flat_map(|undo| &undo.inputs);
        for (place, (name, input)) in own.chain(of_undo.map(|named| ("undo/inputs", named))) {
            let Input::Output { step: source, .. } = input else {
                continue;
            };
            let at = || format!("/steps/{index}/{place}/{}/from", super::json::escape(name));
            // What undoes a step may be told what the step gave back.
            let is_own = place != "inputs" && *source == step.id;
            match index_of.get(source) {
                None => findings.push(Finding::new(at(), format!("there is no step `{source}`"))),
                Some(source_index) if !is_own && !ancestors.contains(source_index) => {
                    let message = format!(
                        "`{}` does not need `{source}`, so its output may not be there yet",
                        step.id
                    );
                    findings.push(Finding::new(at(), message));
                }
                Some(_) => {}
            }
        }
    }
}

/// The rank of each step of an admitted plan: its own estimate plus the longest of those that need it.
pub fn ranks(plan: &Plan) -> Ranks {
    let mut dependents: BTreeMap<&StepId, Vec<&StepId>> = BTreeMap::new();
    for step in &plan.steps {
        for need in &step.needs {
            dependents.entry(&need.step).or_default().push(&step.id);
        }
    }
    let own: BTreeMap<&StepId, u64> = plan
        .steps
        .iter()
        .map(|step| (&step.id, step.estimated_ms.max(1)))
        .collect();
    let mut ranks: Ranks = BTreeMap::new();
    for step in &plan.steps {
        rank(&step.id, &own, &dependents, &mut ranks, PLAN_DEPTH_MAX);
    }
    ranks
}

// Depth is bounded by admission; a plan that was not admitted is cut off at its own length.
fn rank<'p>(
    id: &'p StepId,
    own: &BTreeMap<&'p StepId, u64>,
    dependents: &BTreeMap<&'p StepId, Vec<&'p StepId>>,
    ranks: &mut Ranks,
    depth: usize,
) -> u64 {
    if let Some(known) = ranks.get(id) {
        return *known;
    }
    let below = if depth == 0 {
        &[][..]
    } else {
        dependents.get(id).map_or(&[][..], Vec::as_slice)
    };
    let longest = below
        .iter()
        .map(|next| rank(next, own, dependents, ranks, depth - 1))
        .max()
        .unwrap_or(0);
    let total = own.get(id).copied().unwrap_or(0).saturating_add(longest);
    ranks.insert(id.clone(), total);
    total
}

/// The plan of a run that one agent does alone.
pub fn single_step(agent: AgentName, step: super::plan::Step) -> Plan {
    Plan {
        goal: step.task.clone(),
        steps: vec![super::plan::Step {
            work: Work::Agent(agent),
            ..step
        }],
        result: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::plan_document::read_plan;

    fn findings(document: &Value) -> Vec<(String, String)> {
        let agents = ["a1", "planner"]
            .iter()
            .map(|name| AgentName::new(name).expect("valid"))
            .collect();
        let skills = BTreeSet::from([SkillName::new("fs.read").expect("valid")]);
        let around = Surroundings {
            agents: &agents,
            skills: &skills,
            remaining_ms: 1000,
            remaining_tokens: Some(100),
        };
        match admit(&read_plan(document).expect("readable"), &around) {
            Ok(()) => Vec::new(),
            Err(findings) => findings
                .into_iter()
                .map(|finding| (finding.pointer, finding.message))
                .collect(),
        }
    }

    fn step(id: &str, needs: &[&str]) -> Value {
        json!({ "id": id, "agent": "a1", "task": "t", "needs": needs })
    }

    #[test]
    fn each_reason_to_refuse_names_its_place() {
        let check = |steps: Value, pointer: &str, words: &str| {
            let found = findings(&json!({ "steps": steps }));
            let hit = found
                .iter()
                .any(|(at, message)| at == pointer && message.contains(words));
            assert!(hit, "expected {words:?} at {pointer:?}, found {found:?}");
        };
        check(json!([]), "/steps", "at least one");
        check(
            json!([step("x", &["y"]), step("y", &["z"]), step("z", &["x"])]),
            "/steps/0/needs",
            "wait for each other",
        );
        check(json!([step("x", &["x"])]), "/steps/0/needs", "wait for each other");
        check(json!([step("x", &["nobody"])]), "/steps/0/needs/0", "no step `nobody`");
        check(json!([step("x", &[]), step("x", &[])]), "/steps/1/id", "twice");
        check(json!([step("plan", &[])]), "/steps/0/id", "reserved");
        check(
            json!([{ "id": "x", "agent": "ghost", "task": "t" }]),
            "/steps/0/agent",
            "known are a1, planner",
        );
        check(json!([{ "id": "x", "skill": "fs.none" }]), "/steps/0/skill", "no skill");
        check(
            json!([{ "id": "x", "agent": "a1", "task": "t", "est_ms": 1001 }]),
            "/steps",
            "1000 ms are left",
        );
        check(
            json!([{ "id": "x", "agent": "a1", "task": "t", "est_tokens": 101 }]),
            "/steps",
            "100 are left",
        );
        check(
            json!([{ "id": "x", "agent": "a1", "task": "t", "join": 1 }]),
            "/steps/0/join",
            "never be met",
        );
        check(
            json!([step("x", &[]), { "id": "y", "agent": "a1", "task": "t", "inputs": { "i": { "from": "steps.x.out" } } }]),
            "/steps/1/inputs/i/from",
            "does not need",
        );
        let many: Vec<Value> = (0..257).map(|n| step(&format!("s{n}"), &[])).collect();
        check(json!(many), "/steps", "at most 256");
        let chain: Vec<Value> = (0..33)
            .map(|n| {
                if n == 0 {
                    step("s0", &[])
                } else {
                    step(&format!("s{n}"), &[&format!("s{}", n - 1)])
                }
            })
            .collect();
        check(json!(chain), "/steps/32", "at most 32");
    }

    #[test]
    fn the_longest_path_decides_the_rank() {
        let document = json!({ "steps": [
            { "id": "short", "agent": "a1", "task": "t", "est_ms": 5 },
            { "id": "long", "agent": "a1", "task": "t", "est_ms": 50 },
            { "id": "end", "agent": "a1", "task": "t", "needs": ["short", "long"], "est_ms": 7 }
        ] });
        assert_eq!(findings(&document), Vec::new());
        let ranks = ranks(&read_plan(&document).expect("readable"));
        let of = |id: &str| ranks[&StepId::new(id).expect("valid")];
        assert_eq!((of("end"), of("long"), of("short")), (7, 57, 12));
    }

    proptest! {
        /// Edges that only go to earlier steps can have no cycle; turning one round can.
        #[test]
        fn a_plan_is_admitted_exactly_when_it_has_no_cycle(
            edges in prop::collection::btree_set((0usize..12, 0usize..12), 0..20),
        ) {
            let steps: Vec<Value> = (0..12)
                .map(|n| {
                    let needs: Vec<String> =
                        edges.iter().filter(|(from, _)| *from == n).map(|(_, to)| format!("s{to}")).collect();
                    json!({ "id": format!("s{n}"), "agent": "a1", "task": "t", "needs": needs })
                })
                .collect();
            // The oracle: repeatedly remove steps without open needs.
            let mut left: BTreeSet<usize> = (0..12).collect();
            while let Some(free) = left.iter().copied().find(|n| {
                edges.iter().all(|(from, to)| from != n || !left.contains(to))
            }) {
                left.remove(&free);
            }
            let admitted = findings(&json!({ "steps": steps })).is_empty();
            prop_assert_eq!(admitted, left.is_empty());
        }
    }
}
