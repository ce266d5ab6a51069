//! What is fixed for a session: its rules, its view of skills and model, the orders of its calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::agents::handoff::compile;
use crate::agents::order::{OrderWork, SessionOrder};
use crate::agents::parts::AgentsParts;
use crate::agents::turn::state::{SessionWork, TurnRules};
use crate::agents::turn::summary::Compaction;
use crate::domain::agent::AgentDefinition;
use crate::domain::brief::{Brief, lesson_line, render};
use crate::domain::capability::CapabilitySet;
use crate::domain::effect::EffectKey;
use crate::domain::exchange::Exchange;
use crate::domain::name::{AgentName, ModelAlias};
use crate::domain::request_options::ToolChoice;
use crate::domain::time::UtcMillis;
use crate::llm::estimate::Fixed;
use crate::runtime::clock::rfc3339;
use crate::skills::skill::CallOrder;

use super::consent::Consent;
use super::surroundings::SessionSurroundings;

/// Answers that may be sent back because they do not match.
const REJECTIONS_MAX: u32 = 2;
/// The skill that gives the text of a package.
const PACKAGE_READER: &str = "skill.read";
/// The agent name under which skill steps are journaled; they book no tokens.
const NO_AGENT: &str = "none";

pub(super) fn call_order(
    order: &SessionOrder,
    arguments: serde_json::Value,
    key: EffectKey,
    now: UtcMillis,
    granted: Option<Arc<CapabilitySet>>,
) -> CallOrder {
    CallOrder {
        key,
        run: order.run,
        step: order.attempt.step.clone(),
        arguments,
        workspace: order.workspace.clone(),
        granted,
        agreed: false,
        deadline: Duration::from_millis(order.deadline.since(now)),
    }
}

pub(super) fn rules(
    parts: &AgentsParts,
    order: &SessionOrder,
    definition: Option<&AgentDefinition>,
    around: &SessionSurroundings,
) -> TurnRules {
    let work = match &order.work {
        OrderWork::Agent { handoff, context } => SessionWork::Agent {
            brief: render(&Brief {
                task: handoff.task.clone(),
                context: context.clone(),
                constraints: handoff.constraints.clone(),
                deadline: rfc3339(handoff.deadline).into(),
                lessons: handoff
                    .lessons
                    .iter()
                    .map(|lesson| lesson_line(lesson).into())
                    .collect(),
                // Told by a fact of the session, when its first turn begins.
                memory: Vec::new(),
            })
            .into(),
        },
        OrderWork::Skill { skill, arguments } => SessionWork::Skill {
            skill: skill.clone(),
            arguments: arguments.clone(),
        },
    };
    let agent = definition.map(|agent| agent.name.clone());
    TurnRules {
        run: order.run,
        attempt: order.attempt.clone(),
        agent: agent.unwrap_or_else(|| AgentName::new(NO_AGENT).expect("a valid name")),
        model: around.model.clone(),
        fallback: parts.models.fallback(&around.model),
        deadline: order.deadline,
        rest_over_ms: parts.rest_over.as_millis() as u64,
        prompt: definition.map_or_else(|| "".into(), |agent| agent.prompt_version.clone()),
        work,
        turns_max: definition.map_or(1, |agent| agent.turns_max),
        turn_retries_max: definition.map_or(0, |agent| agent.retries_max),
        rejections_max: REJECTIONS_MAX,
        exit_code_is_checked: order.exit_code_is_checked,
    }
}

pub(super) fn surroundings(
    parts: &AgentsParts,
    order: &SessionOrder,
    definition: Option<&AgentDefinition>,
    wake: impl Fn() + Send + Sync + 'static,
) -> SessionSurroundings {
    let catalogue = parts.skills.catalogue();
    let offered = match (&order.work, definition) {
        // A model that is asked by its own name has no skills; see `take_exchange`.
        _ if order.is_bare() => Arc::new([]),
        (OrderWork::Skill { skill, .. }, _) => catalogue.manifests_for(std::slice::from_ref(skill)),
        (OrderWork::Agent { .. }, Some(agent)) => {
            let mut allowed = catalogue.expand(&agent.skills);
            if let Some(narrowed) = &order.skills {
                allowed.retain(|skill| narrowed.contains(skill));
            }
            catalogue.manifests_for(&allowed)
        }
        (OrderWork::Agent { .. }, None) => Arc::new([]),
    };
    let output_schema = order.handoff().and_then(|handoff| handoff.output_schema.clone());
    // Both sides of the hand-off have seen it compile.
    let validator = output_schema.as_ref().and_then(|schema| compile(schema).ok());
    let mut system = definition.map_or_else(String::new, |agent| agent.prompt.to_string());
    if let Some(schema) = &output_schema {
        system.push_str("\n\nYour final answer is JSON, without other text, that matches this JSON Schema:\n");
        system.push_str(&schema.to_string());
    }
    // The first tier of skill packages: names and descriptions, for sessions that can read on.
    let reads_packages = offered.iter().any(|skill| skill.name.as_str() == PACKAGE_READER);
    if reads_packages && let Some(offer) = parts.skills.library().offer(Some(&order.workspace)) {
        system.push_str("\n\n");
        system.push_str(&offer);
    }
    let output_tokens_max = definition.map_or(0, |agent| agent.output_tokens_max);
    let fixed = Fixed::of(&system, &offered, output_schema.as_deref(), output_tokens_max);
    let offline = || ModelAlias::new(crate::llm::registry::OFFLINE_ALIAS).expect("a valid alias");
    let model = order
        .model
        .clone()
        .or_else(|| definition.map(|agent| agent.model.clone()))
        .unwrap_or_else(offline);
    // The offline model reads its whole conversation anew in every turn: it has no window, and no use for a summary.
    let has_window = !parts.models.is_offline(&model);
    let own = definition.and_then(|agent| agent.compact_at);
    let window = parts.models.context_tokens(&model);
    let compaction = Compaction {
        at_tokens: has_window.then(|| own.unwrap_or(window / 4 * 3)),
        by_model: has_window,
    };
    SessionSurroundings {
        skills: parts.skills.clone(),
        offered,
        bounds: bounds(parts, order, definition),
        workspace: order.workspace.clone(),
        system: system.into(),
        model,
        output_schema,
        validator,
        output_tokens_max,
        models: parts.models.clone(),
        wake: Arc::new(wake),
        permit: Mutex::default(),
        replays: false,
        fixed,
        compaction,
        consent: Consent {
            rules: parts.approvals.load_full(),
            agent: definition
                .map(|agent| agent.name.clone())
                .or_else(|| order.planned_by.clone()),
        },
        seen: BTreeMap::new(),
        options: None,
    }
}

/// What the calls of a session may touch: the word of its agent, of the agent that gave the order or planned the call,
/// and of whoever submitted the run.
fn bounds(
    parts: &AgentsParts,
    order: &SessionOrder,
    definition: Option<&AgentDefinition>,
) -> Vec<(&'static str, CapabilitySet)> {
    let own = definition.and_then(|agent| agent.capabilities.clone());
    let given_by = order.handoff().and_then(|handoff| handoff.from.as_ref());
    let from = given_by.or(order.planned_by.as_ref());
    let definitions = parts.definitions.all();
    let parent = from.and_then(|agent| definitions.get(agent)?.capabilities.clone());
    let bounds = [
        ("this agent", own),
        ("the agent that gave the order", parent),
        ("this run", order.grant.clone()),
    ];
    bounds
        .into_iter()
        .filter_map(|(whose, set)| Some((whose, set?)))
        .collect()
}

/// Makes a session answer a conversation that a client leads, in the place of its brief.
pub(super) fn take_exchange(
    exchange: &Exchange,
    order: &SessionOrder,
    around: &mut SessionSurroundings,
    rules: &mut TurnRules,
) {
    let options = &exchange.options;
    let tools: Arc<[Arc<str>]> = options.tools.iter().map(|tool| tool.name.clone()).collect();
    let mut system = if exchange.is_bare {
        around.offered = Arc::new([]);
        String::new()
    } else {
        // A skill of the same name would make two tools of one name.
        let own = around.offered.iter();
        let own = own.filter(|skill| !tools.iter().any(|tool| **tool == *skill.name.as_str()));
        around.offered = own.cloned().collect();
        around.system.to_string()
    };
    let lessons = order.handoff().map_or(&[][..], |handoff| &handoff.lessons);
    let lessons = lessons.iter().map(lesson_line);
    for part in std::iter::once(exchange.system.to_string()).chain(lessons) {
        if !part.trim().is_empty() {
            if !system.is_empty() {
                system.push_str("\n\n");
            }
            system.push_str(&part);
        }
    }
    if let (true, Some(schema)) = (exchange.is_bare, &around.output_schema) {
        system.push_str("\n\nYour final answer is JSON, without other text, that matches this JSON Schema:\n");
        system.push_str(&schema.to_string());
    }
    if options.choice == ToolChoice::None {
        // The client wants words: then no skill is offered either.
        around.offered = Arc::new([]);
    }
    around.system = system.into();
    if let Some(wanted) = exchange.output_tokens_max {
        around.output_tokens_max = wanted.min(around.output_tokens_max);
    }
    let fixed = Fixed::of(
        &around.system,
        &around.offered,
        around.output_schema.as_deref(),
        around.output_tokens_max,
    );
    around.fixed = fixed.with_tools(&options.tools);
    around.options = (!options.is_empty()).then(|| (options.clone(), exchange.messages.len()));
    rules.work = SessionWork::Exchange {
        opening: exchange.messages.clone(),
        tools,
    };
}
