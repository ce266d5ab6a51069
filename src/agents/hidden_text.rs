//! A word in the log when a text on its way to a model hid something: tags that only machines read, controls that
//! reorder, runs of joiners that carry data. The prompt is made without them; this is for the operator, who may want
//! to know which page or file does that.

use crate::domain::text_policy::for_prompt;

/// Says in the log what the prompt will leave out of this text, if it hid something.
pub fn warn(source: &str, text: &str) {
    let (_, changes) = for_prompt(text);
    if changes.hid_something() {
        tracing::warn!(source, changes = changes.describe(), "a text for a model hid something");
    }
}
