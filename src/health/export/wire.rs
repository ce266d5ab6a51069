//! What a collector is sent and answers, as JSON: pure.
//!
//! **Source**: OTLP 1.5, its JSON mapping <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>: ids in hex,
//! numbers of 64 bits as text, enumerations as numbers, names in camel case.

use serde_json::{Value, json};

use crate::domain::id::RunId;
use crate::domain::time::UtcMillis;

use super::log_queue::{Importance, LogLine};
use super::span::{Attribute, Span};

/// Who sends: the name of the program, and its machine.
fn resource(host: &str) -> Value {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    json!({ "attributes": [
        text("service.name", "openclaw"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", host),
    ] })
}

fn scope() -> Value {
    json!({ "name": "openclaw", "version": env!("CARGO_PKG_VERSION") })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// The id of a run's trace: its own 16 bytes, in hex.
pub fn trace_id(run: RunId) -> String {
    hex(&run.to_bytes())
}

fn nanos(at: UtcMillis) -> String {
    (u128::from(at.0) * 1_000_000).to_string()
}

fn attribute(key: &str, value: &Attribute) -> Value {
    let value = match value {
        Attribute::Text(text) => json!({ "stringValue": text }),
        Attribute::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": key, "value": value })
}

fn span(run: RunId, span: &Span) -> Value {
    let status = match &span.failure {
        None => json!({ "code": 1 }),
        Some(why) => json!({ "code": 2, "message": why }),
    };
    let attributes = span.attributes.iter().map(|(key, value)| attribute(key, value));
    let events = span
        .events
        .iter()
        .map(|(at, name)| json!({ "timeUnixNano": nanos(*at), "name": name }));
    json!({
        "traceId": trace_id(run),
        "spanId": hex(&span.id),
        "parentSpanId": span.parent.map_or(String::new(), |parent| hex(&parent)),
        "name": span.name,
        // Internal, or one that asks another service.
        "kind": if span.is_client { 3 } else { 1 },
        "startTimeUnixNano": nanos(span.begun),
        "endTimeUnixNano": nanos(span.ended),
        "attributes": attributes.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
        "status": status,
    })
}

/// The body of `POST /v1/traces`.
pub fn traces(host: &str, of_runs: &[(RunId, Vec<Span>)]) -> Value {
    let all = of_runs
        .iter()
        .flat_map(|(run, spans)| spans.iter().map(|one| span(*run, one)));
    json!({ "resourceSpans": [{
        "resource": resource(host),
        "scopeSpans": [{ "scope": scope(), "spans": all.collect::<Vec<_>>() }],
    }] })
}

fn line(line: &LogLine) -> Value {
    let (number, text) = match line.importance {
        Importance::Trace => (1, "TRACE"),
        Importance::Debug => (5, "DEBUG"),
        Importance::Info => (9, "INFO"),
        Importance::Warn => (13, "WARN"),
        Importance::Error => (17, "ERROR"),
    };
    let fields = line.fields.iter().map(|(key, value)| (*key, value.clone()));
    let fields = fields.chain([("code.namespace", line.target.to_owned())]);
    json!({
        "timeUnixNano": nanos(line.at),
        "severityNumber": number,
        "severityText": text,
        "body": { "stringValue": line.message },
        "attributes": fields.map(|(key, value)| attribute(key, &Attribute::Text(value))).collect::<Vec<_>>(),
        "traceId": line.run().map_or(String::new(), trace_id),
    })
}

/// The body of `POST /v1/logs`.
pub fn logs(host: &str, lines: &[LogLine]) -> Value {
    json!({ "resourceLogs": [{
        "resource": resource(host),
        "scopeLogs": [{ "scope": scope(), "logRecords": lines.iter().map(line).collect::<Vec<_>>() }],
    }] })
}

/// How many of them a collector refused that took the rest.
pub fn rejected(answer: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let partial = &answer["partialSuccess"];
    let count = ["rejectedSpans", "rejectedLogRecords"].map(|name| match &partial[name] {
        Value::String(text) => text.parse().unwrap_or(0),
        other => other.as_u64().unwrap_or(0),
    });
    count.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_refusal_is_read_in_every_form_of_a_number_and_anything_else_is_none() {
        let check = |answer: &str, refused: u64| assert_eq!(rejected(answer.as_bytes()), refused, "{answer}");
        check("{}", 0);
        check("", 0);
        check("no json", 0);
        check(
            r#"{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "too old"}}"#,
            3,
        );
        check(r#"{"partialSuccess": {"rejectedLogRecords": 2}}"#, 2);
    }
}
