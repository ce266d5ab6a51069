//! Text in pieces, for those who serve an answer as a stream.

/// Cuts a text into pieces of at most this many bytes (or of one character, when that has more), between characters.
pub fn pieces(text: &str, bytes_max: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let mut end = bytes_max.clamp(first.len_utf8(), rest.len());
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text_and_end_between_characters() {
        let check = |text: &str, bytes_max: usize, expected: &[&str]| {
            let found: Vec<&str> = pieces(text, bytes_max).collect();
            assert_eq!(found, expected, "{text:?} by {bytes_max}");
        };
        check("", 3, &[]);
        check("abcdef", 4, &["abcd", "ef"]);
        check("a😀b", 3, &["a", "😀", "b"]);
        check("é", 0, &["é"]);
    }
}
