//! The words of the document, for reading and writing alike.

use crate::domain::plan::{NeedState, OnFailure};

pub(super) const ON_FAILURE: &[(&str, OnFailure)] = &[
    ("fail_fast", OnFailure::FailFast),
    ("skip_subtree", OnFailure::SkipSubtree),
    ("continue", OnFailure::Continue),
    ("replan", OnFailure::Replan),
];

pub(super) const NEED_STATE: &[(&str, NeedState)] = &[
    ("ok", NeedState::Ok),
    ("done", NeedState::Done),
    ("failed", NeedState::Failed),
    ("skipped", NeedState::Skipped),
];

pub(super) fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words
        .iter()
        .find(|(_, known)| known == value)
        .map_or("", |(word, _)| word)
}
