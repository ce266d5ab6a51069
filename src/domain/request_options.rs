//! What a client asks of a model beside the conversation: tools of its own, and how the answer is drawn.

use std::sync::Arc;

use serde_json::Value;

/// Tools of one request.
pub const CLIENT_TOOLS_MAX: usize = 128;
/// Sequences at which an answer ends.
pub const STOP_SEQUENCES_MAX: usize = 16;

/// A tool that the client has and makes the calls of.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientTool {
    /// Its name, as the client wrote it.
    pub name: Arc<str>,
    /// What it does.
    pub description: Arc<str>,
    /// JSON Schema of its arguments.
    pub schema: Arc<Value>,
}

/// Whether the model has to call a tool. It holds for the first turn of an answer only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// It must not.
    None,
    /// It must call one.
    Required,
    /// It must call this one.
    Tool(Arc<str>),
}

/// What a client asks of the model beside the conversation. What is none is left to the provider.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RequestOptions {
    /// Tools that the client makes the calls of.
    pub tools: Arc<[ClientTool]>,
    /// Whether one has to be called.
    pub choice: ToolChoice,
    /// Whether several may be called in one turn.
    pub parallel: Option<bool>,
    /// Randomness of the answer.
    pub temperature: Option<f64>,
    /// The share of likely tokens that is drawn from.
    pub top_p: Option<f64>,
    /// Texts before which the answer ends.
    pub stop: Arc<[Arc<str>]>,
}

impl RequestOptions {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same for a later turn: a call was made, so none is forced any more.
    #[must_use]
    pub fn without_choice(&self) -> Self {
        let choice = match self.choice {
            ToolChoice::None => ToolChoice::None,
            _ => ToolChoice::Auto,
        };
        Self { choice, ..self.clone() }
    }
}

/// Cuts a text before the first of the sequences; none when it has none of them.
pub fn cut_at<'text>(text: &'text str, stop: &[Arc<str>]) -> Option<&'text str> {
    let places = stop.iter().filter(|sequence| !sequence.is_empty());
    let first = places.filter_map(|sequence| text.find(&**sequence)).min()?;
    Some(&text[..first])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_before_the_first_sequence() {
        let check = |text: &str, stop: &[&str], expected: Option<&str>| {
            let stop: Vec<Arc<str>> = stop.iter().map(|text| Arc::from(*text)).collect();
            assert_eq!(cut_at(text, &stop), expected, "{text} {stop:?}");
        };
        check("one two three", &["three", "two"], Some("one "));
        check("one", &["two"], None);
        check("one", &[""], None);
        check("é!", &["!"], Some("é"));
    }

    #[test]
    fn a_choice_holds_for_one_turn_and_a_ban_for_all() {
        let check = |choice: ToolChoice, expected: ToolChoice| {
            let options = RequestOptions {
                choice,
                ..RequestOptions::default()
            };
            assert_eq!(options.without_choice().choice, expected);
        };
        check(ToolChoice::Required, ToolChoice::Auto);
        check(ToolChoice::Tool("x".into()), ToolChoice::Auto);
        check(ToolChoice::None, ToolChoice::None);
    }
}
