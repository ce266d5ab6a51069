//! What the tests of the dialects share.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::approval::Approval;
use crate::domain::conversation::{Arguments, CallRequest, CallResult, Message, ModelAnswer, ModelRequest};
use crate::domain::effect::EffectClass;
use crate::domain::name::{ModelAlias, SkillName};
use crate::domain::skill::SkillManifest;
use crate::llm::dialect::gathered::Heard;
use crate::llm::dialect::kind::Dialect;
use crate::llm::model::{AskError, Nobody};
use crate::llm::wire::memo::{Hand, Memo};

pub(super) fn manifest(name: &str) -> SkillManifest {
    SkillManifest {
        name: SkillName::new(name).expect("valid"),
        description: "does it".into(),
        input_schema: Arc::new(json!({ "type": "object", "properties": { "path": { "type": "string" } } })),
        class: EffectClass::Once,
        timeout_ms: 0,
        output_bytes_max: crate::domain::limits::RESULT_BYTES_MAX,
        concurrency: 1,
        approval: Approval::Auto,
        resources: Arc::new([]),
        undo: None,
        examples: Arc::new([]),
    }
}

pub(super) fn request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        model: ModelAlias::new("m").expect("valid"),
        system: "You are x, the coder agent.\nBe exact 👩‍🚀.".into(),
        messages: messages.into(),
        skills: vec![manifest("fs.read"), manifest("plain-name_2")].into(),
        output_schema: None,
        output_tokens_max: 1000,
        options: None,
    }
}

pub(super) fn task() -> ModelRequest {
    request(vec![Message::User("task".into())])
}

pub(super) fn call(id: &str, arguments: Arguments) -> CallRequest {
    CallRequest {
        id: id.into(),
        skill: "fs.read".into(),
        arguments,
    }
}

pub(super) fn result(id: &str, content: &str, is_error: bool) -> CallResult {
    CallResult {
        id: id.into(),
        content: content.into(),
        is_error,
    }
}

/// Who writes in a dialect.
pub(super) fn hand(dialect: Dialect, model_id: &str, vendor: bool) -> Hand {
    Hand {
        dialect: dialect.as_str(),
        model_id: model_id.into(),
        stream: false,
        vendor,
    }
}

pub(super) fn body_in(dialect: Dialect, request: &ModelRequest, model_id: &str, vendor: bool) -> Value {
    let bytes = dialect.write_request(request, &hand(dialect, model_id, vendor), &Memo::default());
    serde_json::from_slice(&bytes).expect("JSON")
}

pub(super) fn read_whole(dialect: Dialect, body: &str, request: &ModelRequest) -> Result<ModelAnswer, AskError> {
    dialect.read_answer(body, request, &mut Heard::new(&Nobody))
}

pub(super) fn object(value: Value) -> Arguments {
    Arguments::Object(value.into())
}

/// What an answer comes to, in one line that a table can hold.
pub(super) fn told(answer: &ModelAnswer) -> String {
    let calls: Vec<String> = answer
        .calls
        .iter()
        .map(|call| match &call.arguments {
            Arguments::Object(value) => format!("{}:{}{value}", call.id, call.skill),
            Arguments::Malformed { .. } => format!("{}:{}!malformed", call.id, call.skill),
        })
        .collect();
    let mark = if answer.usage.estimated { "~" } else { "" };
    let usage = if answer.usage.estimated {
        String::new()
    } else {
        format!("{}+{}", answer.usage.input, answer.usage.output)
    };
    format!(
        "{:?} {:?} [{}] {mark}{usage}",
        answer.text,
        answer.stop,
        calls.join(" ")
    )
}
