//! Cutting text where a reader would: never inside a character that people see as one.

use unicode_segmentation::UnicodeSegmentation;

/// Put where text was left out.
pub const CUT_MARK: &str = "…[cut]";

/// The text itself when it has at most `bytes_max` bytes; otherwise its beginning up to a grapheme border, with
/// [`CUT_MARK`] at the end. The result, mark included, has at most `bytes_max` bytes (or is the mark alone).
pub fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let room = bytes_max.saturating_sub(CUT_MARK.len());
    // Segmentation is linear, so it sees only the part that can be kept and one cluster more: a cluster's
    // border does not depend on what follows the next one.
    let mut window_end = (room + 256).min(text.len());
    while !text.is_char_boundary(window_end) {
        window_end += 1;
    }
    let end = text[..window_end]
        .grapheme_indices(true)
        .map(|(start, _)| start)
        .take_while(|start| *start <= room)
        .last()
        .unwrap_or(0);
    format!("{}{CUT_MARK}", &text[..end])
}

/// The text itself when it has at most `bytes_max` bytes; otherwise its beginning and its end, with [`CUT_MARK`]
/// between them: the last lines of a program's output often say the most.
pub fn cut_middle(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let half = bytes_max / 2;
    let mut start = text.len() - half;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    // A border of what people see as one character, looked for from a character's border before it.
    let start = text[start..]
        .grapheme_indices(true)
        .nth(1)
        .map_or(start, |(next, _)| start + next);
    format!("{}{}", cut(text, bytes_max - half), &text[start..])
}

/// One line for lists and logs: control characters and line ends become blanks, then [`cut`].
pub fn preview(text: &str, bytes_max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(bytes_max + 8));
    for character in text.chars() {
        if line.len() > bytes_max {
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    cut(line.trim(), bytes_max)
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
