//! What the turn loop may ask of the world.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::agents::answer;
use crate::agents::turn::agreement::Policy;
use crate::agents::turn::decision::{Admission, CallVerdict, Surroundings};
use crate::agents::turn::state::TurnState;
use crate::agents::turn::summary::{Compaction, SUMMARY_SYSTEM, SUMMARY_TOKENS_MAX, transcript};
use crate::domain::capability::{CapabilitySet, common, effective};
use crate::domain::code;
use crate::domain::conversation::{CallRequest, Message, ModelRequest};
use crate::domain::effect::EffectKey;
use crate::domain::handoff::Finding;
use crate::domain::money::Price;
use crate::domain::name::{ModelAlias, SkillName};
use crate::domain::request_options::{RequestOptions, ToolChoice};
use crate::domain::skill::{CallOutcome, SkillManifest};
use crate::domain::time::UtcMillis;
use crate::llm::estimate::{Fixed, text_tokens};
use crate::llm::gate::shared::{Permit, Wake};
use crate::llm::registry::Models;
use crate::skills::handle::SkillsHandle;
use crate::skills::preview::Preview;

use super::consent::Consent;

/// Tokens of what a summary is made from when no window is known.
const TRANSCRIPT_TOKENS: u64 = 16_000;

/// One session's view of skills, model and schema.
pub struct SessionSurroundings {
    /// The skills.
    pub skills: SkillsHandle,
    /// Those that this session may use, as they are offered to the model.
    pub offered: Arc<[SkillManifest]>,
    /// What its calls may touch: what each of these allows, with whose word it is. None at all means whatever its
    /// skills need.
    pub bounds: Vec<(&'static str, CapabilitySet)>,
    /// The folder that it works in.
    pub workspace: Arc<Path>,
    /// The system text.
    pub system: Arc<str>,
    /// The model.
    pub model: ModelAlias,
    /// The schema of the answer.
    pub output_schema: Option<Arc<Value>>,
    /// The same, compiled.
    pub validator: Option<jsonschema::Validator>,
    /// Ceiling of one answer in tokens.
    pub output_tokens_max: u32,
    /// All models.
    pub models: Arc<Models>,
    /// Says to the session that a request which was put off may perhaps go.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// The place of the request that is about to be sent.
    pub permit: Mutex<Option<Permit>>,
    /// Whether a cassette answers in the models' place: then no gate is asked.
    pub replays: bool,
    /// What every request costs before its messages.
    pub fixed: Fixed,
    /// When and how the conversation is compacted.
    pub compaction: Compaction,
    /// Who has to agree to which call.
    pub consent: Consent,
    /// What calls would do that somebody may have to agree to; forgotten when a call has ended, after which they may do
    /// something else.
    pub seen: BTreeMap<EffectKey, Result<Preview, String>>,
    /// What a client asks of the model, with the number of messages that its conversation had.
    pub options: Option<(Arc<RequestOptions>, usize)>,
}

impl SessionSurroundings {
    /// The next request to this model: the conversation, or the one for its summary.
    pub fn request(&self, model: &ModelAlias, state: &TurnState) -> ModelRequest {
        if let Some(words) = self.transcript(state) {
            return ModelRequest {
                model: model.clone(),
                system: SUMMARY_SYSTEM.into(),
                messages: Arc::new(vec![Message::User(words.into())]),
                skills: Arc::new([]),
                output_schema: None,
                output_tokens_max: self.output_tokens_max.min(SUMMARY_TOKENS_MAX),
                options: None,
            };
        }
        ModelRequest {
            model: model.clone(),
            system: self.system.clone(),
            messages: Arc::clone(&state.messages),
            skills: self.offered.clone(),
            output_schema: self.output_schema.clone(),
            output_tokens_max: self.output_tokens_max,
            options: self.options_for(state),
        }
    }
}

impl SessionSurroundings {
    /// What is asked of the model: a choice of tools holds until the conversation has gone on.
    fn options_for(&self, state: &TurnState) -> Option<Arc<RequestOptions>> {
        let (options, opening) = self.options.as_ref()?;
        if state.messages.len() <= *opening || options.choice == ToolChoice::Auto {
            return Some(options.clone());
        }
        Some(Arc::new(options.without_choice()))
    }

    /// The place that was taken for the next request; none at a model that has no gate.
    pub fn take_permit(&self) -> Option<Permit> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What calls may touch at most, by everybody who has a word in it.
    pub fn granted(&self) -> Option<Arc<CapabilitySet>> {
        common(self.bounds.iter().map(|(_, set)| set)).map(Arc::new)
    }

    /// Why this call may not be made, when something that it touches is not granted.
    fn denied(&self, skill: &SkillName, arguments: &Value) -> Option<String> {
        if self.bounds.is_empty() {
            return None;
        }
        let needs = self.skills.needs(skill, arguments, &self.workspace);
        let parts: Vec<&CapabilitySet> = self.bounds.iter().map(|(_, set)| set).chain([&needs]).collect();
        let granted = effective(&parts);
        let missing: Vec<String> = needs.missing_from(&granted).map(ToString::to_string).collect();
        if missing.is_empty() {
            return None;
        }
        let without = self.bounds.iter().filter(|(_, set)| !needs.is_subset_of(set));
        let whose: Vec<&str> = without.map(|(whose, _)| *whose).collect();
        let code = code::CAPABILITY_DENIED.id;
        Some(format!(
            "{} may not do that: it lacks {} [{code}]",
            whose.join(" and "),
            missing.join(", ")
        ))
    }

    /// What a summary is made from, when one is to be asked for. It leaves room for the answer where a window is known.
    fn transcript(&self, state: &TurnState) -> Option<String> {
        let through = state.compacting.as_ref()?.through;
        let tokens = self.compaction.at_tokens.unwrap_or(TRANSCRIPT_TOKENS);
        // Two bytes for a token are few: the words of a transcript are hardly ever longer than estimated.
        let bytes_max = usize::try_from(tokens).unwrap_or(usize::MAX).saturating_mul(2);
        Some(transcript(&state.messages, through, bytes_max.clamp(4_096, 1 << 20)))
    }
}

impl Surroundings for SessionSurroundings {
    fn judge_call(&self, call: &CallRequest) -> CallVerdict {
        let offered = || {
            self.offered
                .iter()
                .map(|skill| skill.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let Some(manifest) = SkillName::new(&call.skill)
            .ok()
            .and_then(|name| self.offered.iter().find(|skill| skill.name == name))
        else {
            return CallVerdict::Refuse(format!(
                "there is no skill `{}` here; there are: {}",
                call.skill,
                offered()
            ));
        };
        match self.skills.catalogue().validate(&manifest.name, &call.arguments) {
            Ok(arguments) => match self.denied(&manifest.name, &arguments) {
                None => CallVerdict::Make {
                    skill: manifest.name.clone(),
                    class: self
                        .skills
                        .catalogue()
                        .class_of(&manifest.name, &arguments)
                        .unwrap_or(manifest.class),
                    arguments,
                },
                Some(denied) => CallVerdict::Refuse(denied),
            },
            Err(findings) => {
                let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
                CallVerdict::Refuse(format!("the arguments cannot be used: {}", findings.join("; ")))
            }
        }
    }

    fn foreseen(&self, skill: &SkillName, arguments: &Value) -> Option<String> {
        self.skills.foreseen(skill, arguments, &self.workspace)
    }

    fn ceiling(&self, state: &TurnState) -> u64 {
        match self.transcript(state) {
            Some(words) => text_tokens(&words)
                .saturating_add(text_tokens(SUMMARY_SYSTEM))
                .saturating_add(u64::from(SUMMARY_TOKENS_MAX)),
            None => self.fixed.ceiling_of(state.messages.cost()),
        }
    }

    fn request_tokens(&self, state: &TurnState) -> u64 {
        self.fixed.tokens(state.messages.cost())
    }

    fn compaction(&self) -> Compaction {
        self.compaction
    }

    fn price(&self, model: &ModelAlias) -> Price {
        self.models.price(model)
    }

    fn admit(&self, model: &ModelAlias, tokens: u64, waited: bool, now: UtcMillis) -> Admission {
        let Some(gate) = self.models.gate(model).filter(|_| !self.replays) else {
            return Admission::Go;
        };
        let wake = || -> Wake {
            let wake = self.wake.clone();
            Box::new(move || wake())
        };
        match gate.admit(tokens, waited, now, wake) {
            Ok(permit) => {
                *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
                Admission::Go
            }
            Err(wait) => Admission::Wait {
                until: wait.until,
                reason: format!("model `{model}` {}", wait.why.as_str()).into(),
                early: wait.early,
            },
        }
    }

    fn judge_answer(&self, text: &str) -> Result<Value, Vec<Finding>> {
        answer::judge(text, self.validator.as_ref())
    }

    fn policy(&self, skill: &SkillName, arguments: &Value, key: EffectKey) -> Policy {
        self.consent
            .policy(&self.skills, skill, arguments, key, self.seen.get(&key))
    }

    fn evidence(&self, key: EffectKey) -> Option<String> {
        self.skills.evidence(key)
    }

    fn spooled(&self, key: EffectKey) -> Option<CallOutcome> {
        self.skills.spooled(key)
    }
}
