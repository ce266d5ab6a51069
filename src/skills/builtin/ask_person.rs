//! `ask.person`: a question to a person, whose answer is the outcome. The call waits as an approval does.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use crate::domain::approval::Approval;
use crate::domain::effect::EffectClass;
use crate::domain::skill::SkillManifest;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::preview::Preview;
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};

#[derive(Deserialize)]
struct Wanted {
    question: String,
    #[serde(default)]
    options: Vec<String>,
}

/// The skill.
pub struct AskPerson {
    manifest: SkillManifest,
}

impl AskPerson {
    /// Makes the skill.
    #[expect(
        clippy::new_without_default,
        reason = "all skills are made by `new`, with or without parts"
    )]
    pub fn new() -> Self {
        let manifest = Declaration {
            name: "ask.person",
            description: "Asks a person a question and waits for the answer, which may take long. Use it only for \
                          what you cannot find out or decide yourself. Say in `options` what may be answered, when \
                          that is known.",
            class: EffectClass::Read,
            timeout_ms: 1_000,
            concurrency: 64,
            properties: json!({
                "question": {"type": "string", "minLength": 1, "maxLength": 4000},
                "options": {
                    "type": "array", "maxItems": 20, "items": {"type": "string", "minLength": 1, "maxLength": 400}
                },
            }),
            required: &["question"],
            examples: json!([{"question": "Which of the two databases is the live one?", "options": ["east", "west"]}]),
        }
        .manifest();
        let manifest = SkillManifest {
            approval: Approval::Ask,
            ..manifest
        };
        Self { manifest }
    }
}

impl Skill for AskPerson {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn preview(&self, order: CallOrder) -> BoxFuture<'static, Preview> {
        let wanted: Wanted = match arguments(&order) {
            Ok(wanted) => wanted,
            Err(reason) => return Preview::of(reason).as_question().at_once(),
        };
        let mut shown = wanted.question;
        for option in &wanted.options {
            shown.push_str("\n- ");
            shown.push_str(option);
        }
        Preview::of(shown).as_question().at_once()
    }

    /// Only reached when the operator lets the skill be called without asking.
    fn call(&self, _: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let refused =
            CallEnd::refused("nobody is asked here: the rule for ask.person is `auto`, and it asks with `ask`");
        std::future::ready(Ok(refused)).boxed()
    }
}
