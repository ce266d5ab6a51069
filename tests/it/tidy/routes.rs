//! The description of the API lists exactly the routes of the router.

use std::collections::BTreeSet;

use serde_json::Value;

use super::source::{Finding, SourceFile, assert_found, made_up};

const METHODS: &[&str] = &["get", "post", "put", "patch", "delete"];

/// Routes that only one of the two knows, operations without answers, and references that lead nowhere.
pub(crate) fn findings(router: &SourceFile, description: &SourceFile) -> Vec<Finding> {
    let document: Value = match serde_json::from_str(&description.text) {
        Ok(document) => document,
        Err(error) => return vec![Finding::new(&description.path, error.line(), error.to_string())],
    };
    let served = routes(&router.text);
    let mut described = BTreeSet::new();
    let mut findings = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            if !METHODS.contains(&method.as_str()) {
                continue;
            }
            described.insert((path.clone(), method.clone()));
            if operation["responses"].as_object().is_none_or(serde_json::Map::is_empty) {
                findings.push(Finding::new(
                    &description.path,
                    0,
                    format!("{method} {path} has no answers"),
                ));
            }
        }
    }
    for (path, method) in served.difference(&described) {
        findings.push(Finding::new(
            &description.path,
            0,
            format!("{method} {path} is not described"),
        ));
    }
    for (path, method) in described.difference(&served) {
        findings.push(Finding::new(
            &description.path,
            0,
            format!("{method} {path} is not served"),
        ));
    }
    dangling(&document, &document, &description.path, &mut findings);
    findings
}

fn dangling(value: &Value, document: &Value, path: &str, findings: &mut Vec<Finding>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                let target = reference
                    .strip_prefix('#')
                    .and_then(|pointer| document.pointer(pointer));
                if target.is_none() {
                    findings.push(Finding::new(path, 0, format!("`{reference}` leads nowhere")));
                }
            }
            for field in fields.values() {
                dangling(field, document, path, findings);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| dangling(item, document, path, findings)),
        _ => {}
    }
}

/// Path and method of each `.route("path", get(x).post(y))`.
fn routes(text: &str) -> BTreeSet<(String, String)> {
    let mut routes = BTreeSet::new();
    for part in text.split(".route(").skip(1) {
        let Some(path) = part.split('"').nth(1) else { continue };
        let rest = part.split_once(',').map_or("", |(_, rest)| rest);
        let rest = rest.split("\n        .").next().unwrap_or(rest);
        for method in METHODS {
            if rest.contains(&format!("{method}(")) {
                routes.insert((path.to_owned(), (*method).to_owned()));
            }
        }
    }
    routes
}

#[test]
fn a_route_that_only_one_side_knows_is_found() {
    let router = made_up(
        "router.rs",
        "Router::new()\n        .route(\"/a\", post(a::make).get(a::list))\n        .route(\"/b\", get(b))\n        .layer(x)",
    );
    let description = made_up(
        "openapi.json",
        r##"{"paths":{"/a":{"get":{"responses":{"200":{"$ref":"#/components/x"}}},"post":{}},"/c":{"get":{"responses":{"200":{}}}}}}"##,
    );
    assert_found(
        &findings(&router, &description),
        &[
            "openapi.json:0: post /a has no answers",
            "openapi.json:0: get /b is not described",
            "openapi.json:0: get /c is not served",
            "openapi.json:0: `#/components/x` leads nowhere",
        ],
    );
}
