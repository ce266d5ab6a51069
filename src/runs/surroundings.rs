//! What a run's decision may ask of the world.

use std::collections::BTreeSet;

use serde_json::json;

use crate::agents::handoff;
use crate::domain::capability::{Capability, CapabilityKind, CapabilitySet};
use crate::domain::handoff::{ContextEntry, ContextSource, Finding, Handoff};
use crate::domain::id::BootId;
use crate::domain::name::AgentName;
use crate::domain::plan::Plan;
use crate::domain::plan_admission::{self, admit};
use crate::domain::plan_document::write_plan;
use crate::domain::time::UtcMillis;

use super::decision::Surroundings;
use super::parts::RunsParts;
use super::state::RunState;

impl Surroundings for RunsParts {
    fn boot(&self) -> BootId {
        self.boot
    }

    fn planner(&self) -> AgentName {
        self.settings.load().planner.clone()
    }

    fn retries(&self, agent: Option<&AgentName>) -> u32 {
        agent
            .and_then(|name| self.agents.definitions().get(name).map(|agent| agent.retries_max))
            .unwrap_or(0)
    }

    fn timeout_ms(&self, agent: Option<&AgentName>) -> u64 {
        agent
            .and_then(|name| self.agents.definitions().get(name).map(|agent| agent.timeout_ms))
            .unwrap_or_else(|| self.settings.load().skill_timeout_ms)
    }

    fn judge_plan(&self, plan: &Plan, state: &RunState, now: UtcMillis) -> Result<(), Vec<Finding>> {
        let spec = state.spec.as_ref();
        self.judge_submitted_plan(plan, state.deadline.since(now), spec.and_then(|spec| spec.tokens_max))
    }

    fn judge_handoff(&self, order: &Handoff, now: UtcMillis) -> Vec<Finding> {
        let mut findings = handoff::judge(order, now);
        let definitions = self.agents.definitions();
        let giver = order.from.as_ref().and_then(|from| definitions.get(from));
        let wanted = Capability::new(CapabilityKind::Agent, order.to.as_str());
        // Without a list an agent may give work to everybody.
        let may = |list: &CapabilitySet| wanted.is_ok_and(|wanted| list.allows(&wanted));
        if let Some(giver) = giver
            && !giver.capabilities.as_ref().is_none_or(may)
        {
            let message = format!(
                "{} may not give work to {}: it lacks agent:{}",
                giver.name, order.to, order.to
            );
            findings.push(Finding::new("/to", message));
        }
        findings
    }

    fn may_undo(&self, state: &RunState) -> bool {
        let by_plan = |plan: &Plan| plan.steps.iter().any(|step| step.undo.is_some());
        // Of the plans that were in force before only the journal knows.
        state.replans > 0
            || state.plan.as_deref().is_some_and(by_plan)
            || self.skills.catalogue().manifests().any(|skill| skill.undo.is_some())
    }

    fn planning_context(&self) -> Vec<ContextEntry> {
        let literal = |name: &str, value| ContextEntry {
            name: name.into(),
            source: ContextSource::Literal(value),
        };
        let definitions = self.agents.definitions();
        let agents = definitions.values().map(|agent| {
            let skills: Vec<&str> = agent.skills.iter().map(AsRef::as_ref).collect();
            json!({ "name": agent.name.as_str(), "role": agent.role.as_str(), "skills": skills })
        });
        let catalogue = self.skills.catalogue();
        let skills = catalogue.manifests().map(|skill| json!(skill.name.as_str()));
        let mut context = vec![literal("agents", agents.collect()), literal("skills", skills.collect())];
        if !self.pipelines.is_empty() {
            let pipelines = self.pipelines.iter().map(|pipeline| {
                json!({ "name": &*pipeline.name, "match": &*pipeline.matches, "plan": write_plan(&pipeline.plan) })
            });
            context.push(literal("pipelines", pipelines.collect()));
        }
        context
    }
}

impl RunsParts {
    /// What is wrong with a plan, given the time and tokens that are left.
    pub fn judge_submitted_plan(
        &self,
        plan: &Plan,
        remaining_ms: u64,
        remaining_tokens: Option<u64>,
    ) -> Result<(), Vec<Finding>> {
        let agents: BTreeSet<AgentName> = self.agents.definitions().keys().cloned().collect();
        let skills = self
            .skills
            .catalogue()
            .manifests()
            .map(|skill| skill.name.clone())
            .collect();
        let around = plan_admission::Surroundings {
            agents: &agents,
            skills: &skills,
            remaining_ms,
            remaining_tokens,
        };
        admit(plan, &around)?;
        let schemas = plan.steps.iter().enumerate().filter_map(|(index, step)| {
            let error = handoff::compile(step.output_schema.as_ref()?).err()?;
            Some(Finding::new(format!("/steps/{index}/output_schema"), error))
        });
        let findings: Vec<Finding> = schemas.collect();
        if findings.is_empty() { Ok(()) } else { Err(findings) }
    }
}
