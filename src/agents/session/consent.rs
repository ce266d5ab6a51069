//! Who has to agree to a call of this session, and what exactly the agreement is about.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::agents::turn::agreement::Policy;
use crate::domain::approval::{Approval, ApprovalRules};
use crate::domain::effect::EffectKey;
use crate::domain::json::canonical;
use crate::domain::name::{AgentName, SkillName};
use crate::skills::handle::SkillsHandle;
use crate::skills::preview::{Preview, SHOWN_BYTES_MAX};

/// The rules as they hold for one session.
pub struct Consent {
    /// What the operator has laid down.
    pub rules: Arc<ApprovalRules>,
    /// Whose session it is; none for a step done by a skill.
    pub agent: Option<AgentName>,
}

impl Consent {
    /// The policy for a call that was judged sound; `seen` is what it would do, once that is known.
    pub fn policy(
        &self,
        skills: &SkillsHandle,
        skill: &SkillName,
        arguments: &Value,
        key: EffectKey,
        seen: Option<&Result<Preview, String>>,
    ) -> Policy {
        let default = skills
            .catalogue()
            .manifest(skill)
            .map_or(Approval::Auto, |of| of.approval);
        match self.rules.decide(self.agent.as_ref(), skill, default) {
            Approval::Auto => Policy::Auto,
            Approval::Deny => Policy::Deny(format!("not made: the operator does not allow {skill} here")),
            Approval::Ask => {
                let preview = match seen {
                    None => return Policy::Look,
                    Some(Ok(preview)) => preview,
                    Some(Err(reason)) => {
                        return Policy::Deny(format!(
                            "not made: somebody has to agree to it, and what it would do cannot be shown: {reason}"
                        ));
                    }
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
                    shown: preview.shown.as_str().into(),
                    timeout_ms: self.rules.timeout_ms,
                    is_question: preview.is_question,
                }
            }
        }
    }
}
