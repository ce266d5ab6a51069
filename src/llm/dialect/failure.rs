//! What a provider's error means: its class, from status, words and text.
//!
//! Refuses to know: HTTP beyond a number. The words of the vendors do not contradict each other, so one table serves
//! all dialects and the many servers that mix them.
//!
//! **Source**: the error types of both vendors' SDKs; the texts of common compatible servers.

use serde_json::Value;

use crate::domain::failure::FailureClass;
use crate::domain::text;
use crate::llm::model::AskError;

/// The conversation is longer than the model takes: the same request never will be answered, a shorter one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the conversation is longer than the model takes")]
pub struct ContextExceeded;

impl ContextExceeded {
    /// Whether this is why a model gave no answer.
    pub fn is_cause_of(error: &AskError) -> bool {
        error.source.as_ref().is_some_and(|source| source.is::<Self>())
    }
}

/// What an error's body says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// This class.
    Class(FailureClass),
    /// The conversation is too long.
    TooLong,
}

/// Reads the body of an error, whose `error` is an object or a text, or which is one itself.
pub fn told(body: &Value) -> Option<Told> {
    let error = match &body["error"] {
        Value::Null => body,
        error => error,
    };
    let message = words(body).unwrap_or("").to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    let named: Vec<&str> = ["code", "type", "status"]
        .iter()
        .filter_map(|member| error[*member].as_str())
        .collect();
    if named.iter().any(|word| is_too_long(word))
        || says(&[
            "prompt is too long",
            "maximum context length",
            "context window",
            "context limit",
            "context size",
            "context length exceeded",
        ])
    {
        return Some(Told::TooLong);
    }
    // What ran out is money, whatever the type says; the vendors keep it apart from rates only by the text.
    let of_money = says(&["credit balance", "usage limits", "spend limit", "insufficient balance"])
        || error["details"].to_string().contains("spend");
    // One vendor says this of money, another of requests in a minute, by the word for what is exhausted.
    let of_money = of_money || (says(&["current quota"]) && !named.contains(&"RESOURCE_EXHAUSTED"));
    if of_money {
        return Some(Told::Class(FailureClass::Budget));
    }
    named
        .iter()
        .find_map(|word| class_of_word(word))
        .or_else(|| {
            let number = &error["code"];
            let status = number.as_u64().or_else(|| number.as_str()?.parse().ok())?;
            (400..600).contains(&status).then(|| class_of_status(status as u16))
        })
        .map(Told::Class)
}

fn is_too_long(word: &str) -> bool {
    matches!(
        word,
        "context_length_exceeded" | "exceed_context_size_error" | "request_too_large" | "ContextWindowExceededError"
    )
}

fn class_of_word(word: &str) -> Option<FailureClass> {
    Some(match word {
        "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" | "billing_error" => {
            FailureClass::Budget
        }
        "content_filter" | "content_policy_violation" | "cyber_policy" => FailureClass::Refusal,
        "rate_limit_error" | "rate_limit_exceeded" | "RESOURCE_EXHAUSTED" => FailureClass::Rate,
        "overloaded_error"
        | "api_error"
        | "server_error"
        | "internal_server_error"
        | "server_overloaded"
        | "InternalServerError"
        | "UNAVAILABLE" => FailureClass::Overload,
        "timeout_error" | "DEADLINE_EXCEEDED" => FailureClass::Timeout,
        "authentication_error"
        | "permission_error"
        | "not_found_error"
        | "invalid_request_error"
        | "invalid_api_key"
        | "model_not_found"
        | "BadRequestError"
        | "NotFoundError" => FailureClass::Config,
        _ => return None,
    })
}

/// The class of a status alone.
pub fn class_of_status(status: u16) -> FailureClass {
    match status {
        402 => FailureClass::Budget,
        408 | 504 => FailureClass::Timeout,
        429 => FailureClass::Rate,
        502 | 520..=527 => FailureClass::Transport,
        409 | 425 | 500..=599 => FailureClass::Overload,
        // The request itself is not allowed or not understood: the same one never will be.
        _ => FailureClass::Config,
    }
}

/// The text of an error's body.
pub fn words(body: &Value) -> Option<&str> {
    [
        &body["error"]["message"],
        &body["error"],
        &body["message"],
        &body["detail"],
    ]
    .into_iter()
    .find_map(Value::as_str)
}

/// The error of an answer that began with a success.
pub(super) fn reported(body: &Value) -> AskError {
    let message = words(body).unwrap_or("no reason given");
    let reason = format!(
        "the provider reports an error in its answer: {}",
        text::preview(message, 300)
    );
    match told(body) {
        Some(Told::TooLong) => AskError::unknown(FailureClass::Config, reason).because(ContextExceeded),
        Some(Told::Class(class)) => AskError::unknown(class, reason),
        None => AskError::unknown(FailureClass::Overload, reason),
    }
}

/// An answer that cannot be read as what it should be.
pub(super) fn malformed(reason: &'static str) -> AskError {
    AskError::unknown(FailureClass::Malformed, reason)
}

/// An answer that ended in the middle.
pub(super) fn ended() -> AskError {
    AskError::unknown(FailureClass::Transport, "the answer ended before its closing event")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_of_all_vendors_have_their_class() {
        use FailureClass as C;
        let check = |body: Value, expected: Option<Told>| assert_eq!(told(&body), expected, "{body}");
        let class = |class| Some(Told::Class(class));
        let of = |kind: &str, message: &str| json!({ "type": "error", "error": { "type": kind, "message": message } });
        check(of("overloaded_error", "Overloaded"), class(C::Overload));
        check(of("rate_limit_error", "slow down"), class(C::Rate));
        check(of("timeout_error", ""), class(C::Timeout));
        check(of("billing_error", ""), class(C::Budget));
        check(
            of(
                "invalid_request_error",
                "Your credit balance is too low to access the API.",
            ),
            class(C::Budget),
        );
        check(
            of(
                "invalid_request_error",
                "prompt is too long: 210000 tokens > 200000 maximum",
            ),
            Some(Told::TooLong),
        );
        check(of("invalid_request_error", "messages: required"), class(C::Config));
        check(
            of("request_too_large", "Request exceeds the maximum size"),
            Some(Told::TooLong),
        );
        check(of("new_error", "?"), None);
        check(
            json!({ "error": { "type": "rate_limit_error", "message": "", "details": { "error_code": "spend_limit_reached" } } }),
            class(C::Budget),
        );
        let code = |code: Value| json!({ "error": { "message": "x", "type": "requests", "code": code } });
        check(code(json!("rate_limit_exceeded")), class(C::Rate));
        check(code(json!("insufficient_quota")), class(C::Budget));
        let quota = "You exceeded your current quota, please check your plan and billing details.";
        check(of("insufficient_quota", quota), class(C::Budget));
        check(of("new_error", quota), class(C::Budget));
        check(
            json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "message": quota } }),
            class(C::Rate),
        );
        check(code(json!("context_length_exceeded")), Some(Told::TooLong));
        check(code(json!("server_error")), class(C::Overload));
        check(code(json!(429)), class(C::Rate));
        check(code(json!("503")), class(C::Overload));
        check(code(json!("0")), None);
        check(code(Value::Null), None);
        check(
            json!({ "object": "error", "message": "This model's maximum context length is 4096 tokens.", "type": "BadRequestError", "code": 400 }),
            Some(Told::TooLong),
        );
        check(json!({ "error": "model is loading" }), None);
        check(json!({ "detail": "Not Found" }), None);
        check(Value::Null, None);
    }
}
