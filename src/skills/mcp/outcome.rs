//! From what a server answers to the outcome of a call.
//!
//! Pure. Invariant: an outcome has at most [`RESULT_BYTES_MAX`] bytes, and what is no text is named and left out.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};

use crate::domain::json;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::skill::CallOutcome;
use crate::domain::text;

/// The outcome of a finished call.
pub fn outcome(result: &CallToolResult) -> CallOutcome {
    let mut parts: Vec<String> = result.content.iter().map(part).collect();
    // Servers repeat structured content as text; without a text it is all there is.
    if let Some(structured) = result.structured_content.as_ref().filter(|_| parts.is_empty()) {
        parts.push(json::canonical(structured));
    }
    let content = text::cut_middle(&parts.join("\n"), RESULT_BYTES_MAX);
    if result.is_error.unwrap_or(false) {
        CallOutcome::error(content)
    } else {
        CallOutcome::ok(content)
    }
}

fn part(block: &ContentBlock) -> String {
    let left_out = |what: &str, mime: &str, bytes: usize| {
        format!(
            "[{what}, {}, {bytes} bytes of base64 left out]",
            text::preview(mime, 80)
        )
    };
    match block {
        ContentBlock::Text(content) => content.text.clone(),
        ContentBlock::Image(image) => left_out("an image", &image.mime_type, image.data.len()),
        ContentBlock::Audio(audio) => left_out("a sound", &audio.mime_type, audio.data.len()),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { text, .. } => text.clone(),
            ResourceContents::BlobResourceContents { mime_type, blob, .. } => {
                left_out("a file", mime_type.as_deref().unwrap_or("of no said kind"), blob.len())
            }
            _ => "[a resource that this program does not know]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("[a link to {}]", text::preview(&link.uri, 2048)),
        _ => "[something that this program does not know]".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_no_text_is_named_and_everything_is_bounded() {
        let check = |result: Value, is_error: bool, wanted: &str| {
            let result: CallToolResult = serde_json::from_value(result).expect("a result");
            let outcome = outcome(&result);
            assert_eq!(outcome.is_error, is_error);
            assert!(
                outcome.content.contains(wanted) && outcome.content.len() <= RESULT_BYTES_MAX,
                "{}",
                outcome.content
            );
        };
        let text = |text: &str| json!({"type": "text", "text": text});
        check(json!({"content": [text("one"), text("two")]}), false, "one\ntwo");
        check(json!({"content": [text("no")], "isError": true}), true, "no");
        check(
            json!({"content": [], "structuredContent": {"a": 1}}),
            false,
            "{\"a\":1}",
        );
        check(
            json!({"content": [text("x")], "structuredContent": {"a": 1}}),
            false,
            "x",
        );
        check(
            json!({"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]}),
            false,
            "[an image, image/png, 4 bytes",
        );
        check(
            json!({"content": [{"type": "resource", "resource": {"uri": "a:b", "text": "inner"}}]}),
            false,
            "inner",
        );
        check(json!({"content": [text(&"y".repeat(300_000))]}), false, "[cut]");
    }
}
