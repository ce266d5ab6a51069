//! Making an answer match the schema that is asked for.
//!
//! Refuses to know: what the answer means. Invariants: an answer that matches already is not touched; what the answer
//! says is never replaced by what the schema would like to hear; no `true` is ever made up.

use serde_json::{Map, Value};

/// Depth to which a minimal instance is made.
const DEPTH_MAX: usize = 12;

fn matches(schema: &Value, value: &Value) -> bool {
    jsonschema::validator_for(schema).is_ok_and(|validator| validator.is_valid(value))
}

/// The answer itself when it matches; otherwise with what is missing made up as small as the schema allows, and
/// without what it forbids.
pub(super) fn fit(schema: &Value, value: Value) -> Value {
    if matches(schema, &value) {
        return value;
    }
    if let (Some(properties), Value::Object(fields)) = (schema["properties"].as_object(), &value) {
        let mut fitted = Map::new();
        let mut conflict = false;
        for (name, own) in fields {
            conflict |= properties.get(name).is_some_and(|property| !matches(property, own));
            if properties.contains_key(name) || schema["additionalProperties"] != false {
                fitted.insert(name.clone(), own.clone());
            }
        }
        let text = fields.get("answer").and_then(Value::as_str);
        for name in required(schema) {
            if !fitted.contains_key(name) {
                let property = properties.get(name).unwrap_or(&Value::Null);
                let said = text.map(Value::from).filter(|said| matches(property, said));
                let wants_text = matches!(name, "answer" | "summary" | "text" | "result" | "message" | "content");
                let made = match said {
                    Some(said) if wants_text => said,
                    _ => minimal(schema, property, 0),
                };
                fitted.insert(name.to_owned(), made);
            }
        }
        let fitted = Value::Object(fitted);
        // A judgement that the schema forbids is given all the same, and then fails for the right reason.
        if conflict || matches(schema, &fitted) {
            return fitted;
        }
    }
    if schema["type"] == "string"
        && let Some(text) = value["answer"].as_str()
        && matches(schema, &text.into())
    {
        return text.into();
    }
    minimal(schema, schema, 0)
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// The smallest value of a simple schema; null where the schema says nothing.
fn minimal(root: &Value, schema: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    for given in ["const", "default"] {
        if let Some(value) = schema.get(given) {
            return if *value == true { false.into() } else { value.clone() };
        }
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    if let Some(target) = schema["$ref"]
        .as_str()
        .and_then(|reference| reference.strip_prefix('#'))
    {
        return root
            .pointer(target)
            .map_or(Value::Null, |schema| minimal(root, schema, depth + 1));
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[choice].as_array().and_then(|schemas| schemas.first()) {
            return minimal(root, first, depth + 1);
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("string") => "x"
            .repeat(schema["minLength"].as_u64().unwrap_or(0).min(10_000) as usize)
            .into(),
        Some("boolean") => false.into(),
        Some("integer") => {
            let above = schema["exclusiveMinimum"].as_i64().map(|least| least.saturating_add(1));
            schema["minimum"].as_i64().or(above).unwrap_or(0).into()
        }
        Some("number") => schema.get("minimum").cloned().unwrap_or_else(|| 0.into()),
        Some("array") => {
            let count = schema["minItems"].as_u64().unwrap_or(0).min(100);
            (0..count).map(|_| minimal(root, &schema["items"], depth + 1)).collect()
        }
        Some("object") => object(root, schema, depth),
        None if schema.get("properties").is_some() || schema.get("required").is_some() => object(root, schema, depth),
        _ => Value::Null,
    }
}

fn object(root: &Value, schema: &Value, depth: usize) -> Value {
    let members = required(schema).map(|name| {
        let property = &schema["properties"][name];
        (name.to_owned(), minimal(root, property, depth + 1))
    });
    Value::Object(members.collect())
}

#[cfg(test)]
mod unit {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_brought_to_the_schema() {
        let check = |schema: Value, value: Value, expected: Value| {
            let fitted = fit(&schema, value);
            assert_eq!(fitted, expected, "{schema}");
            assert!(matches(&schema, &fitted), "{schema} {fitted}");
        };
        let approved =
            json!({ "type": "object", "required": ["approved"], "properties": { "approved": { "type": "boolean" } } });
        check(
            approved.clone(),
            json!({ "approved": true, "more": 1 }),
            json!({ "approved": true, "more": 1 }),
        );
        check(
            approved,
            json!({ "answer": "a" }),
            json!({ "approved": false, "answer": "a" }),
        );
        check(
            json!({ "type": "object", "additionalProperties": false, "required": ["summary", "n", "list", "of"],
                    "properties": { "summary": { "type": "string" }, "n": { "type": "integer", "minimum": 3 },
                    "list": { "type": "array", "minItems": 2, "items": { "enum": ["a", "b"] } },
                    "of": { "$ref": "#/$defs/of" } },
                    "$defs": { "of": { "type": "object", "required": ["x"], "properties": { "x": { "const": 7 } } } } }),
            json!({ "answer": "said", "sources": [] }),
            json!({ "summary": "said", "n": 3, "list": ["a", "a"], "of": { "x": 7 } }),
        );
        check(json!({ "type": "string" }), json!({ "answer": "said" }), json!("said"));
        check(json!({ "type": "array" }), json!({ "answer": "said" }), json!([]));
    }

    #[test]
    fn a_judgement_is_never_made_up() {
        let schema = json!({ "type": "object", "required": ["approved"],
                             "properties": { "approved": { "const": true } } });
        assert_eq!(fit(&schema, json!({ "approved": false })), json!({ "approved": false }));
        assert_eq!(fit(&schema, json!({ "answer": "a" }))["approved"], false);
        assert_eq!(fit(&schema, json!("text")), json!({ "approved": false }));
    }

    #[test]
    fn a_schema_that_is_none_does_no_harm() {
        assert_eq!(fit(&json!({ "type": 7 }), json!({ "a": 1 })), Value::Null);
    }
}
