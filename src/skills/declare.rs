//! Small parts that skills are declared and called with.

use std::sync::Arc;

use crate::domain::approval::Approval;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::domain::effect::EffectClass;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::name::SkillName;
use crate::domain::skill::SkillManifest;

use super::skill::CallOrder;

/// What differs between the manifests of built-in skills.
pub(super) struct Declaration {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) class: EffectClass,
    pub(super) timeout_ms: u64,
    pub(super) concurrency: u32,
    /// The members of the arguments, by name.
    pub(super) properties: Value,
    pub(super) required: &'static [&'static str],
    /// Arguments as they may look: an array with at least one, the first of which models are shown.
    pub(super) examples: Value,
}

impl Declaration {
    pub(super) fn manifest(self) -> SkillManifest {
        let Value::Array(examples) = self.examples else {
            unreachable!("examples are written as an array")
        };
        SkillManifest {
            name: SkillName::new(self.name).expect("built-in names keep the grammar"),
            description: self.description.into(),
            input_schema: Arc::new(json!({
                "type": "object",
                "properties": self.properties,
                "required": self.required,
                "additionalProperties": false,
            })),
            class: self.class,
            timeout_ms: self.timeout_ms,
            output_bytes_max: RESULT_BYTES_MAX,
            concurrency: self.concurrency,
            approval: Approval::Auto,
            resources: Arc::new([]),
            undo: None,
            examples: examples.into(),
        }
    }
}

/// The arguments as the skill's own type. The catalogue has validated them, so a refusal here means that schema
/// and type differ; the model still gets a text that it can act on.
pub(super) fn arguments<T: DeserializeOwned>(order: &CallOrder) -> Result<T, String> {
    serde_json::from_value(order.arguments.clone()).map_err(|error| format!("the arguments do not fit: {error}"))
}
