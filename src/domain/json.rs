//! JSON Pointers and canonical text over [`Value`].

use serde_json::Value;

/// The value at a JSON Pointer; the empty pointer is the whole.
///
/// **Source**: RFC 6901.
pub fn resolve<'value>(value: &'value Value, pointer: &str) -> Option<&'value Value> {
    value.pointer(pointer)
}

/// Text that is the same for equal values: object keys sorted, no blanks.
///
/// Relies on the map of [`Value`] being sorted (the `preserve_order` feature stays off).
pub fn canonical(value: &Value) -> String {
    value.to_string()
}

/// How deep arrays and objects nest; a scalar has depth 0.
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Escapes one member name for use in a pointer.
pub fn escape(member: &str) -> String {
    member.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_text_does_not_depend_on_the_order_of_members() {
        let one: Value = serde_json::from_str(r#"{"b":1,"a":[true,null]}"#).expect("valid");
        let two: Value = serde_json::from_str(r#"{ "a" : [ true , null ], "b" : 1 }"#).expect("valid");
        assert_eq!(canonical(&one), canonical(&two));
        assert_eq!(depth(&one), 2);
        assert_eq!(depth(&json!(3)), 0);
    }

    #[test]
    fn pointers_follow_rfc_6901() {
        let value = json!({"a/b": {"m~n": [10, 20]}});
        let pointer = format!("/{}/{}/1", escape("a/b"), escape("m~n"));
        assert_eq!(resolve(&value, &pointer), Some(&json!(20)));
        assert_eq!(resolve(&value, ""), Some(&value));
        assert_eq!(resolve(&value, "/none"), None);
    }
}
