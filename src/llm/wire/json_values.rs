//! JSON values for properties.

use proptest::prelude::*;
use serde_json::Value;

/// Text of all kinds that trouble parsers: escapes, emoji with joiners, controls, marks, noncharacters.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,8}",
        "[\\x00-\\x20\"\\\\/\u{7f}\u{85}\u{feff}\u{202e}\u{2066}\u{e0041}\u{fffe}\u{200d}👩👧🇩🇪🏽\u{301}]{0,8}",
        prop::collection::vec(any::<char>(), 0..8).prop_map(String::from_iter),
    ]
}

/// A value of bounded depth.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e15f64..1e15).prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any_text(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
