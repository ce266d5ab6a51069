//! The description of the API, as it is served at `/openapi.json`.

use serde_json::{Map, Value, json};

/// What every operation may answer beside what its own text says.
const COMMON: &[(&str, &str)] = &[
    ("400", "BadRequest"),
    ("403", "Forbidden"),
    ("404", "NotFound"),
    ("429", "TooMany"),
    ("500", "Fault"),
    ("503", "Unavailable"),
    ("507", "Full"),
];
/// What an operation with a body may answer.
const COMMON_WITH_BODY: &[(&str, &str)] = &[("408", "TooSlow"), ("413", "TooLarge")];
/// What an operation with a key may answer.
const COMMON_WITH_KEY: &[(&str, &str)] = &[("401", "Unauthorized")];

/// The document. It is a file of its own, so that it can be read without a daemon; a test holds it against the
/// routes.
pub fn document() -> Value {
    let document = serde_json::from_str(include_str!("openapi.json")).expect("the file is JSON; a test reads it");
    with_common(document)
}

/// Completes a document with what limits and checks before every route answer. Said here once rather than in a hundred
/// places of the file; what the file says of an operation stays.
pub fn with_common(mut document: Value) -> Value {
    let header = |text: &str| json!({ "schema": { "type": "integer" }, "description": text });
    let refusal = |text: &str| {
        let schema = json!({ "$ref": "#/components/schemas/Error" });
        json!({ "description": text, "content": { "application/json": { "schema": schema } } })
    };
    let mut too_many = refusal("Over a limit; nothing was accepted (OC-7013, OC-7014, OC-7016, OC-7018).");
    too_many["headers"] = json!({
        "Retry-After": header("Seconds after which it may be sent again."),
        "RateLimit-Limit": header("Requests at once."),
        "RateLimit-Remaining": header("Of them left."),
        "RateLimit-Reset": header("Seconds until all are there again."),
    });
    let responses = &mut document["components"]["responses"];
    responses["TooMany"] = too_many;
    responses["TooSlow"] = refusal("The body did not arrive in time (OC-7011), or the wait for an answer has ended.");
    responses["Full"] = refusal("The disk has no room; nothing was accepted.");
    let operations = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    for operation in operations.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        let (has_body, has_key) = (
            operation.get("requestBody").is_some(),
            operation.get("security").is_some(),
        );
        let mut common = COMMON.to_vec();
        common.extend(COMMON_WITH_BODY.iter().filter(|_| has_body));
        common.extend(COMMON_WITH_KEY.iter().filter(|_| has_key));
        let Some(own) = operation["responses"].as_object_mut() else {
            continue;
        };
        // The faces of vendors have one answer for all errors.
        if own.contains_key("default") {
            continue;
        }
        for (status, name) in common {
            own.entry(status)
                .or_insert_with(|| json!({ "$ref": format!("#/components/responses/{name}") }));
        }
    }
    document
}
