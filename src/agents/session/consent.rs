//! Who has to agree to a call of this session, and what exactly the agreement is about.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::agents::turn::agreement::Policy;
use crate::domain::approval::{Approval, ApprovalRules};
use crate::domain::effect::EffectKey;
use crate::domain::id::RunId;
use crate::domain::json::canonical;
use crate::domain::name::{AgentName, SkillName, StepId};
use crate::skills::handle::SkillsHandle;
use crate::skills::preview::SHOWN_BYTES_MAX;
use crate::skills::skill::CallOrder;

/// The rules as they hold for one session.
pub struct Consent {
    /// What the operator has laid down.
    pub rules: Arc<ApprovalRules>,
    /// Whose session it is; none for a step done by a skill.
    pub agent: Option<AgentName>,
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// The folder that it works in.
    pub workspace: Arc<Path>,
}

impl Consent {
    /// The policy for a call that was judged sound.
    pub fn policy(&self, skills: &SkillsHandle, skill: &SkillName, arguments: &Value, key: EffectKey) -> Policy {
        let default = skills
            .catalogue()
            .manifest(skill)
            .map_or(Approval::Auto, |of| of.approval);
        match self.rules.decide(self.agent.as_ref(), skill, default) {
            Approval::Auto => Policy::Auto,
            Approval::Deny => Policy::Deny(format!("not made: the operator does not allow {skill} here")),
            Approval::Ask => {
                let order = CallOrder {
                    key,
                    run: self.run,
                    step: self.step.clone(),
                    arguments: arguments.clone(),
                    workspace: self.workspace.clone(),
                    // It is only shown.
                    granted: None,
                    deadline: Duration::ZERO,
                };
                let Some(preview) = skills.preview(skill, &order) else {
                    return Policy::Deny(format!("not made: there is no skill `{skill}` any more"));
                };
                if preview.is_cut {
                    return Policy::Deny(format!(
                        "not made: somebody has to agree to it, and it is longer than the {SHOWN_BYTES_MAX} bytes that a \
                         person is shown; make it in smaller parts"
                    ));
                }
                // The key stands for run, step, attempt and call: a yes is for this call and for no other.
                let bound = json!([key.to_string(), skill.as_str(), arguments, preview.basis]);
                let hash = blake3::hash(canonical(&bound).as_bytes()).to_hex();
                Policy::Ask {
                    hash: hash.as_str().into(),
                    shown: preview.shown.into(),
                    timeout_ms: self.rules.timeout_ms,
                    is_question: preview.is_question,
                }
            }
        }
    }
}
