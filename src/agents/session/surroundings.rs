//! What the turn loop may ask of the world.

use std::sync::Arc;

use serde_json::Value;

use crate::agents::answer;
use crate::agents::turn::agreement::Policy;
use crate::agents::turn::decision::{CallVerdict, Surroundings};
use crate::domain::conversation::{CallRequest, Message, ModelRequest};
use crate::domain::effect::EffectKey;
use crate::domain::handoff::Finding;
use crate::domain::money::Price;
use crate::domain::name::{ModelAlias, SkillName};
use crate::domain::skill::{CallOutcome, SkillManifest};
use crate::llm::estimate::Fixed;
use crate::skills::handle::SkillsHandle;

use super::consent::Consent;

/// One session's view of skills, model and schema.
pub struct SessionSurroundings {
    /// The skills.
    pub skills: SkillsHandle,
    /// Those that this session may use, as they are offered to the model.
    pub offered: Arc<[SkillManifest]>,
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
    /// What the model charges.
    pub price: Price,
    /// What every request costs before its messages.
    pub fixed: Fixed,
    /// Who has to agree to which call.
    pub consent: Consent,
}

impl SessionSurroundings {
    /// The request for these messages.
    pub fn request(&self, messages: &[Message]) -> ModelRequest {
        ModelRequest {
            model: self.model.clone(),
            system: self.system.clone(),
            messages: Arc::new(messages.to_vec()),
            skills: self.offered.clone(),
            output_schema: self.output_schema.clone(),
            output_tokens_max: self.output_tokens_max,
        }
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
            Ok(arguments) => CallVerdict::Make {
                skill: manifest.name.clone(),
                class: self
                    .skills
                    .catalogue()
                    .class_of(&manifest.name, &arguments)
                    .unwrap_or(manifest.class),
                arguments,
            },
            Err(findings) => {
                let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
                CallVerdict::Refuse(format!("the arguments cannot be used: {}", findings.join("; ")))
            }
        }
    }

    fn ceiling(&self, messages: &[Message]) -> u64 {
        self.fixed.ceiling(messages)
    }

    fn price(&self) -> Price {
        self.price
    }

    fn judge_answer(&self, text: &str) -> Result<Value, Vec<Finding>> {
        answer::judge(text, self.validator.as_ref())
    }

    fn policy(&self, skill: &SkillName, arguments: &Value, key: EffectKey) -> Policy {
        self.consent.policy(&self.skills, skill, arguments, key)
    }

    fn spooled(&self, key: EffectKey) -> Option<CallOutcome> {
        self.skills.spooled(key)
    }
}
