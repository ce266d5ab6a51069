//! Which names the files of a package may have.
//!
//! Pure. Names are shown to people and models, put into commands and copied to other systems; one that is not what it
//! looks like there is refused, whoever made it.

use crate::domain::text_policy::is_visible;

/// Bytes of a name, which is what file systems take.
const NAME_BYTES_MAX: usize = 255;

/// What is wrong with the name of one file or folder, without its path.
pub(super) fn wrong_with(name: &str) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        return Some("a name with more than 255 bytes");
    }
    if name.is_empty() || name == "." || name == ".." {
        return Some("a name that leads elsewhere");
    }
    if name.contains(['/', '\\', '\0']) {
        return Some("a name with a separator in it");
    }
    if name.len() >= 2 && name.as_bytes()[1] == b':' && name.as_bytes()[0].is_ascii_alphabetic() {
        return Some("a name that is a drive elsewhere");
    }
    if !is_visible(name) {
        return Some("a name with signs that are not seen");
    }
    if name.starts_with(' ') || name.ends_with([' ', '.']) {
        return Some("a name that begins or ends with what is lost elsewhere");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_looks_like_everywhere() {
        let check =
            |name: &str, good: bool| assert_eq!(wrong_with(name).is_none(), good, "{name:?}: {:?}", wrong_with(name));
        for good in [
            "a",
            "SKILL.md",
            ".gitignore",
            "ä b",
            "..a",
            "日本語.md",
            "ab:c",
            "C",
            "x=y",
        ] {
            check(good, true);
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "..\\x",
            "a\0",
            "C:",
            "c:x",
            "a\nb",
            "\u{1b}[31m",
            "a\u{202e}fdp.sh",
            "a ",
            " a",
            "a.",
        ] {
            check(bad, false);
        }
        check(&"x".repeat(255), true);
        check(&"x".repeat(256), false);
    }
}
