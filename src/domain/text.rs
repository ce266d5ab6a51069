//! Cutting text where a reader would: never inside a character that people see as one.

use unicode_segmentation::GraphemeCursor;

use super::text_policy::for_terminal;

/// Put where text was left out.
pub const CUT_MARK: &str = "…[cut]";

/// The text itself when it has at most `bytes_max` bytes; otherwise its beginning up to a grapheme border, with
/// [`CUT_MARK`] at the end. The result, mark included, has at most `bytes_max` bytes (or is the mark alone).
pub fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = border_before(text, bytes_max.saturating_sub(CUT_MARK.len()));
    format!("{}{CUT_MARK}", &text[..end])
}

/// The text itself when it has at most `bytes_max` bytes; otherwise its beginning and its end, with [`CUT_MARK`]
/// between them: the last lines of a program's output often say the most.
pub fn cut_middle(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let half = bytes_max / 2;
    let start = border_after(text, text.len() - half);
    format!("{}{}", cut(text, bytes_max - half), &text[start..])
}

/// The last place that is not after this byte and not inside what people see as one character.
pub fn border_before(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let mut cursor = GraphemeCursor::new(at, text.len(), true);
    match cursor.is_boundary(text, 0) {
        Ok(true) => at,
        _ => cursor.prev_boundary(text, 0).ok().flatten().unwrap_or(0),
    }
}

/// The first place that is not before this byte and not inside what people see as one character.
pub fn border_after(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    let mut cursor = GraphemeCursor::new(at, text.len(), true);
    match cursor.is_boundary(text, 0) {
        Ok(true) => at,
        _ => cursor.next_boundary(text, 0).ok().flatten().unwrap_or(text.len()),
    }
}

/// One line for lists, logs and errors: control characters and line ends become blanks, what hides or reorders is
/// escaped ([`for_terminal`]), then [`cut`].
pub fn preview(text: &str, bytes_max: usize) -> String {
    let text = text.trim();
    let mut line = String::with_capacity(text.len().min(bytes_max + 8));
    for character in text.chars() {
        // A few more, so that the cut sees that there is more, and whether they belong to the last one kept.
        if line.len() > bytes_max {
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    cut(&for_terminal(&line), bytes_max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_family_or_flag_is_kept_whole_or_left_out() {
        let family = "👨‍👩‍👧‍👦";
        for bytes in 0..family.len() * 2 {
            let kept = cut(&family.repeat(2), bytes).replace(CUT_MARK, "");
            assert!(
                kept.is_empty() || kept == family || kept == family.repeat(2),
                "{bytes}: {kept}"
            );
        }
    }

    #[test]
    fn both_ends_of_a_cut_middle_are_whole_characters() {
        for part in ["👨‍👩‍👧‍👦", "🇩🇪", "e\u{301}\u{302}", "각"] {
            let text = part.repeat(20);
            for bytes in 2 * CUT_MARK.len()..text.len() {
                let result = cut_middle(&text, bytes);
                let (head, tail) = result.split_once(CUT_MARK).expect("marked");
                for end in [head, tail] {
                    assert_eq!(end.replace(part, ""), "", "{bytes} of {part}: {result}");
                }
            }
        }
    }

    #[test]
    fn a_preview_is_one_line_that_says_when_it_is_cut_and_hides_nothing() {
        let check = |text: &str, bytes: usize, expected: &str| assert_eq!(preview(text, bytes), expected, "{text:?}");
        check(" a\nb\tc\u{1b}d ", 20, "a b c d");
        check("abc                 d", 12, "abc …[cut]");
        check("x\u{202e}y\u{feff}", 40, "x\\u{202e}y");
        check("👨‍👩‍👧‍👦👨‍👩‍👧‍👦", 40, "👨‍👩‍👧‍👦…[cut]");
    }

    proptest! {
        #[test]
        fn a_cut_of_the_middle_keeps_both_ends_within_its_bound(text in "\\PC{0,200}", bytes in 20usize..300) {
            let result = cut_middle(&text, bytes);
            if text.len() <= bytes {
                prop_assert_eq!(result, text);
            } else {
                prop_assert!(result.len() <= bytes);
                let (head, tail) = result.split_once(CUT_MARK).expect("marked");
                prop_assert!(text.starts_with(head) && text.ends_with(tail) && head.len() + tail.len() < text.len());
            }
        }

        #[test]
        fn a_cut_is_a_prefix_within_its_bound(text in "\\PC{0,200}", bytes in 0usize..300) {
            let result = cut(&text, bytes);
            if text.len() <= bytes {
                prop_assert_eq!(result, text);
            } else {
                prop_assert!(result.len() <= bytes.max(CUT_MARK.len()));
                prop_assert!(text.starts_with(result.strip_suffix(CUT_MARK).expect("marked")));
            }
        }
    }
}
