//! Holds every answer of a gateway in these tests against the description of its API.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Value, json};

static GATEWAY: LazyLock<Value> = LazyLock::new(openclaw::gateway::openapi::document);
static ADMIN: LazyLock<Value> = LazyLock::new(openclaw::gateway::admin::openapi::document);

/// Method, path as it is described, status.
type Place = (String, String, u16);

static VALIDATORS: LazyLock<Mutex<HashMap<Place, Option<Arc<Validator>>>>> = LazyLock::new(Mutex::default);

fn matches(template: &str, path: &str) -> bool {
    let (mut own, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (own.next(), given.next()) {
            (None, None) => return true,
            (Some(own), Some(given)) if own == given || (own.starts_with('{') && !given.is_empty()) => {}
            _ => return false,
        }
    }
}

/// Follows a reference of the document, once.
fn resolved<'document>(document: &'document Value, value: &'document Value) -> &'document Value {
    let target = value["$ref"]
        .as_str()
        .and_then(|text| document.pointer(text.trim_start_matches('#')));
    target.unwrap_or(value)
}

/// Fails when an answer is not what the description says. Addresses that are not described answer 404 alone.
pub fn check(method: &str, path: &str, status: u16, body: &Value) {
    let path = path.split('?').next().unwrap_or(path);
    let document: &Value = if path.starts_with("/admin/") { &ADMIN } else { &GATEWAY };
    let paths = document["paths"].as_object().expect("paths");
    // What is written out comes before what stands for any name.
    let found = paths.keys().filter(|template| matches(template, path));
    let Some(template) = found.min_by_key(|template| template.matches('{').count()) else {
        assert!(
            matches!(status, 400 | 403 | 404 | 429 | 503),
            "{method} {path} is not described and answers {status}"
        );
        return;
    };
    let operation = &paths[template][method.to_ascii_lowercase()];
    if operation.is_null() {
        assert!(
            matches!(status, 400 | 403 | 404 | 405 | 429 | 503),
            "{method} {template} is not described and answers {status}"
        );
        return;
    }
    let responses = &operation["responses"];
    let response = match &responses[status.to_string()] {
        Value::Null => &responses["default"],
        found => found,
    };
    assert!(
        !response.is_null(),
        "{method} {template} answers {status}, which is not described: {body}"
    );
    let place = (method.to_owned(), template.clone(), status);
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let validator = validators.entry(place).or_insert_with(|| {
        let schema = &resolved(document, response)["content"]["application/json"]["schema"];
        let whole = json!({ "allOf": [schema], "components": document["components"] });
        (!schema.is_null()).then(|| Arc::new(jsonschema::validator_for(&whole).expect("a schema")))
    });
    let validator = validator.clone();
    drop(validators);
    if let (Some(validator), false) = (validator, body.is_null()) {
        let errors: Vec<String> = validator
            .iter_errors(body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(
            errors.is_empty(),
            "{method} {template} answers {status} otherwise than described: {errors:?}\n{body}"
        );
    }
}

#[test]
fn an_answer_that_is_not_described_is_found() {
    let check = |method: &str, path: &str, status: u16, body: Value, expected: bool| {
        let checked = std::panic::catch_unwind(|| check(method, path, status, &body));
        assert_eq!(checked.is_ok(), expected, "{method} {path} {status} {body}");
    };
    check("GET", "/livez", 200, json!({ "status": "ok" }), true);
    check("GET", "/livez", 201, json!({ "status": "ok" }), false);
    check("GET", "/v1/runs", 200, json!({ "runs": [], "next": null }), true);
    check(
        "GET",
        "/v1/runs?limit=1",
        200,
        json!({ "runs": 7, "next": null }),
        false,
    );
    check("GET", "/v1/nowhere", 404, json!({}), true);
    check("GET", "/v1/nowhere", 200, json!({}), false);
}
