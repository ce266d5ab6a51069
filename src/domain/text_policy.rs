//! What may go where in a text: one table of character classes, and what each destination does with each class.
//!
//! | class | journal | prompt | terminal, log |
//! |---|---|---|---|
//! | controls (C0, DEL, C1; not tab and line ends) | keep | U+FFFD | escape |
//! | bidirectional embeddings, overrides, isolates | keep | strip the unbalanced | escape |
//! | tags U+E0000…E007F outside an emoji flag | keep | strip | escape |
//! | zero width joiner, variation selectors | keep | keep where they shape emoji or a script, else strip | keep |
//! | byte order mark | keep | strip | strip |
//! | noncharacters | keep | keep | escape |
//!
//! The journal keeps everything, so nothing here is ever applied to a fact: prompts and screens are views of it.
//! Nothing is normalised. Identifiers need no entry: their grammars ([`super::name`]) allow a few ASCII characters.
//!
//! Invariants: a text without such characters is not copied; a second application changes nothing; time is linear.
//!
//! **Source**: Unicode UAX #9 (balance), UTS #51 (emoji sequences), UAX #44 (joining scripts).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// The characters that some destination does not take as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Control,
    Bidi,
    Tag,
    Joiner,
    Selector,
    ByteOrderMark,
    Noncharacter,
}

fn class(character: char) -> Class {
    match character {
        '\t' | '\n' | '\r' => Class::Plain,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => Class::Control,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Class::Bidi,
        '\u{e0000}'..='\u{e007f}' => Class::Tag,
        '\u{200d}' => Class::Joiner,
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => Class::Selector,
        '\u{feff}' => Class::ByteOrderMark,
        '\u{fdd0}'..='\u{fdef}' => Class::Noncharacter,
        _ if u32::from(character) & 0xfffe == 0xfffe => Class::Noncharacter,
        _ => Class::Plain,
    }
}

/// Whether a character that begins with this byte may be other than plain.
const fn may_be_odd(byte: u8) -> bool {
    match byte {
        b'\t' | b'\n' | b'\r' => false,
        // Controls; C1; general punctuation; presentation forms and specials; planes 1 and above end in
        // noncharacters, and plane 14 has tags and selectors.
        0..=0x1f | 0x7f | 0xc2 | 0xe2 | 0xef | 0xf0..=0xf4 => true,
        _ => false,
    }
}

static MAY_BE_ODD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = may_be_odd(byte as u8);
        byte += 1;
    }
    table
};

/// The next character that is not plain, from here.
fn next_odd(text: &str, from: usize) -> Option<(usize, char, Class)> {
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        at += bytes
            .get(at..)?
            .iter()
            .position(|byte| MAY_BE_ODD[usize::from(*byte)])?;
        let character = text[at..].chars().next()?;
        match class(character) {
            Class::Plain => at += character.len_utf8(),
            class => return Some((at, character, class)),
        }
    }
}

/// What was changed in a text on its way into a prompt, counted in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// Controls that became U+FFFD.
    pub controls: usize,
    /// Unbalanced bidirectional controls that were left out.
    pub bidi: usize,
    /// Tags that were left out.
    pub tags: usize,
    /// Joiners and variation selectors that were left out.
    pub joiners: usize,
    /// Byte order marks that were left out.
    pub byte_order_marks: usize,
}

impl Changes {
    /// Whether the text held what people do not see and machines read: reason enough for a word in the log.
    pub fn hid_something(self) -> bool {
        self.bidi > 0 || self.tags > 0 || self.joiners > 1
    }

    /// The changes in words; empty when there are none.
    pub fn describe(self) -> String {
        let parts = [
            (self.tags, "invisible tag characters left out"),
            (self.bidi, "unbalanced bidirectional controls left out"),
            (self.joiners, "stray joiners or variation selectors left out"),
            (self.controls, "control characters replaced"),
            (self.byte_order_marks, "byte order marks left out"),
        ];
        let mut words = String::new();
        for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
            let comma = if words.is_empty() { "" } else { ", " };
            let _ = write!(words, "{comma}{count} {what}");
        }
        words
    }
}

/// A text from a source that is not trusted (the output of a skill, a file, a page, a memory, a hand-off) as it goes
/// into a prompt, and what was changed.
pub fn for_prompt(text: &str) -> (Cow<'_, str>, Changes) {
    let mut changes = Changes::default();
    let mut view = View::of(text);
    let mut balanced: Option<Vec<usize>> = None;
    let mut from = 0;
    while let Some((at, character, class)) = next_odd(text, from) {
        from = at + character.len_utf8();
        let counter = match class {
            Class::Plain | Class::Noncharacter => continue,
            Class::Control => {
                changes.controls += 1;
                view.replace(at, from, "\u{fffd}");
                continue;
            }
            Class::Bidi => {
                let balanced = balanced.get_or_insert_with(|| balanced_bidi(text));
                if balanced.binary_search(&at).is_ok() {
                    continue;
                }
                &mut changes.bidi
            }
            Class::Tag => {
                if let Some(length) = flag_tags(text, at) {
                    from = at + length;
                    continue;
                }
                &mut changes.tags
            }
            Class::Joiner => {
                if joiner_shapes(&view, at, text[from..].chars().next()) {
                    continue;
                }
                &mut changes.joiners
            }
            Class::Selector => {
                if selector_shapes(&view, at, character) {
                    continue;
                }
                &mut changes.joiners
            }
            Class::ByteOrderMark => &mut changes.byte_order_marks,
        };
        *counter += 1;
        view.replace(at, from, "");
    }
    (view.finish(), changes)
}

/// As [`for_prompt`], of a shared text: a clean one stays shared.
pub fn shared_for_prompt(text: &Arc<str>) -> Arc<str> {
    match for_prompt(text).0 {
        Cow::Borrowed(_) => text.clone(),
        Cow::Owned(view) => view.into(),
    }
}

/// Whether a text can be a name that people tell from others by looking at it: nothing in it is a control, reorders,
/// hides or stands for no character; joiners only where they shape what is seen.
pub fn is_visible(text: &str) -> bool {
    let shows = |character: char| !matches!(class(character), Class::Bidi | Class::Noncharacter);
    !text.contains(char::is_control) && text.chars().all(shows) && for_prompt(text).1 == Changes::default()
}

/// A text from elsewhere as it may be shown on a terminal or in a log: nothing in it moves the cursor, reorders or
/// hides. Line ends and tabs stay; a carriage return that does not end a line is escaped, because it overwrites one.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    let mut view = View::of(text);
    let mut from = 0;
    loop {
        let odd = next_odd(text, from);
        let before = &text[from..odd.map_or(text.len(), |(at, ..)| at)];
        for (offset, _) in before.match_indices('\r') {
            let at = from + offset;
            if text.as_bytes().get(at + 1) != Some(&b'\n') {
                view.replace(at, at + 1, "\\r");
            }
        }
        let Some((at, character, class)) = odd else {
            return view.finish();
        };
        from = at + character.len_utf8();
        match class {
            Class::Plain | Class::Joiner | Class::Selector => {}
            Class::Tag if flag_tags(text, at).is_some() => from = at + flag_tags(text, at).unwrap_or(0),
            Class::ByteOrderMark => view.replace(at, from, ""),
            Class::Control | Class::Bidi | Class::Tag | Class::Noncharacter => {
                view.replace(at, from, &character.escape_unicode().to_string());
            }
        }
    }
}

/// A text with some parts replaced; not copied before the first one is.
struct View<'t> {
    text: &'t str,
    out: String,
    copied: usize,
}

impl<'t> View<'t> {
    fn of(text: &'t str) -> Self {
        Self {
            text,
            out: String::new(),
            copied: 0,
        }
    }

    fn replace(&mut self, from: usize, to: usize, by: &str) {
        if self.copied == 0 {
            self.out.reserve(self.text.len());
        }
        self.out.push_str(&self.text[self.copied..from]);
        self.out.push_str(by);
        self.copied = to;
    }

    /// The characters that stay before this place, the nearest first.
    fn before(&self, at: usize) -> impl Iterator<Item = char> {
        self.text[self.copied..at].chars().rev().chain(self.out.chars().rev())
    }

    fn finish(mut self) -> Cow<'t, str> {
        if self.copied == 0 {
            return Cow::Borrowed(self.text);
        }
        self.out.push_str(&self.text[self.copied..]);
        Cow::Owned(self.out)
    }
}

/// Where the bidirectional controls are that have their partner on the same line, in order.
fn balanced_bidi(text: &str) -> Vec<usize> {
    let mut found: Vec<(usize, bool)> = Vec::new();
    // Places in `found` of what is open, and whether it is an isolate.
    let mut open: Vec<(usize, bool)> = Vec::new();
    let mut isolates = 0usize;
    for (at, character) in text.char_indices() {
        match character {
            '\u{202a}' | '\u{202b}' | '\u{202d}' | '\u{202e}' => {
                open.push((found.len(), false));
                found.push((at, false));
            }
            '\u{2066}'..='\u{2068}' => {
                isolates += 1;
                open.push((found.len(), true));
                found.push((at, false));
            }
            '\u{202c}' => {
                let partner = open.pop_if(|(_, is_isolate)| !*is_isolate);
                found.push((at, partner.is_some()));
                if let Some((partner, _)) = partner {
                    found[partner].1 = true;
                }
            }
            '\u{2069}' => {
                found.push((at, isolates > 0));
                // The end of an isolate also ends the embeddings that were left open in it: they stay unbalanced.
                while isolates > 0 {
                    let Some((partner, is_isolate)) = open.pop() else { break };
                    if is_isolate {
                        isolates -= 1;
                        found[partner].1 = true;
                        break;
                    }
                }
            }
            '\n' | '\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2029}' => {
                open.clear();
                isolates = 0;
            }
            _ => {}
        }
    }
    found
        .into_iter()
        .filter(|(_, is_balanced)| *is_balanced)
        .map(|(at, _)| at)
        .collect()
}

const BLACK_FLAG: char = '\u{1f3f4}';

/// Bytes of the tags from here when they make an emoji flag of the character before them: a country's two letters
/// and one to five of its part, then the end. A longer payload is no flag.
fn flag_tags(text: &str, at: usize) -> Option<usize> {
    if !text[..at].ends_with(BLACK_FLAG) {
        return None;
    }
    let mut letters = 0;
    for (offset, character) in text[at..].char_indices().take(8) {
        match character {
            '\u{e0061}'..='\u{e007a}' => letters += 1,
            '\u{e0030}'..='\u{e0039}' if letters >= 2 => letters += 1,
            '\u{e007f}' if letters >= 3 => return Some(offset + character.len_utf8()),
            _ => return None,
        }
    }
    None
}

/// Whether a joiner is part of an emoji, or next to a letter of a script whose letters it shapes.
fn joiner_shapes(view: &View<'_>, at: usize, next: Option<char>) -> bool {
    let mut before = view.before(at);
    let previous = before.next();
    if previous.is_some_and(has_joining_letters)
        || (previous != Some('\u{200d}') && next.is_some_and(has_joining_letters))
    {
        return true;
    }
    let base = match previous {
        // After the emoji style or a skin tone the base is one further.
        Some('\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}') => before.next(),
        other => other,
    };
    base.is_some_and(is_pictographic) && next.is_some_and(is_pictographic)
}

/// Whether a variation selector chooses a form of the character before it. A run of them carries data.
fn selector_shapes(view: &View<'_>, at: usize, selector: char) -> bool {
    let Some(base) = view.before(at).next() else {
        return false;
    };
    match selector {
        '\u{fe0f}' => is_pictographic(base) || matches!(base, '0'..='9' | '#' | '*') || has_joining_letters(base),
        '\u{fe00}'..='\u{fe0e}' => class(base) == Class::Plain && !base.is_whitespace(),
        _ => matches!(base, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3fffd}'),
    }
}

/// Scripts in which a joiner changes how letters look: Arabic and its kin, Mongolian, and those of India and
/// South-East Asia.
fn has_joining_letters(character: char) -> bool {
    matches!(character,
        '\u{600}'..='\u{109f}'
        | '\u{1700}'..='\u{1c7f}'
        | '\u{1cd0}'..='\u{1cff}'
        | '\u{a800}'..='\u{a8ff}'
        | '\u{a930}'..='\u{abff}'
        | '\u{fb50}'..='\u{fdcf}'
        | '\u{fdf0}'..='\u{fdff}'
        | '\u{fe70}'..='\u{fefc}'
        | '\u{10a00}'..='\u{10fff}'
        | '\u{11000}'..='\u{11fff}'
        | '\u{1e900}'..='\u{1e95f}'
        | '\u{1ee00}'..='\u{1eeff}')
}

/// Characters that emoji are made of, a few that are none of them among them.
fn is_pictographic(character: char) -> bool {
    matches!(character,
        '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}'
        | '\u{2190}'..='\u{21ff}'
        | '\u{2300}'..='\u{23ff}'
        | '\u{24c2}'
        | '\u{25a0}'..='\u{27bf}'
        | '\u{2934}' | '\u{2935}'
        | '\u{2b00}'..='\u{2bff}'
        | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}'
        | '\u{1f000}'..='\u{1f1e5}'
        | '\u{1f200}'..='\u{1f3fa}'
        | '\u{1f400}'..='\u{1fafd}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prompt_shows_the_model_what_a_person_would_see() {
        let check = |text: &str, expected: &str, changes: Changes| {
            let (view, found) = for_prompt(text);
            assert_eq!((&*view, found), (expected, changes), "{text:?}");
            assert_eq!(matches!(view, Cow::Borrowed(_)), text == expected, "{text:?}");
        };
        let none = Changes::default();
        let controls = |controls| Changes { controls, ..none };
        let bidi = |bidi| Changes { bidi, ..none };
        let tags = |tags| Changes { tags, ..none };
        let joiners = |joiners| Changes { joiners, ..none };
        for clean in [
            "",
            "plain\ttext\r\nwith lines\n",
            "naïve Ünïcode, 日本語，中文。 한국어 עברית العربية",
            "👩‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 🏴‍☠️ ❤️‍🔥 🐦‍⬛ 🇩🇪 1️⃣ #️⃣ ☝🏿 ⛓️‍💥 🏃🏽‍♀️‍➡️",
            "🏴󠁧󠁢󠁥󠁮󠁧󠁿 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
            "می‌خواهم ه‍ क्‍ष ශ්‍රී ന്‍",
            "葛󠄀 ≨︀ ☎︎",
            "\u{2067}שלום\u{2069} (\u{202b}abc\u{202c})",
            "e\u{301}\u{323} \u{fffd} \u{ffff} \u{1fffe} \u{200b}\u{200c}\u{2060}\u{200e}",
        ] {
            check(clean, clean, none);
        }
        check(
            "a\0b\u{1b}[31mc\u{7f}\u{85}\u{9b}",
            "a\u{fffd}b\u{fffd}[31mc\u{fffd}\u{fffd}\u{fffd}",
            controls(5),
        );
        check(
            "\u{feff}a\u{feff}b",
            "ab",
            Changes {
                byte_order_marks: 2,
                ..none
            },
        );
        check("a\u{202e}b", "ab", bidi(1));
        check("\u{2066}a\n\u{2069}", "a\n", bidi(2));
        check(
            "\u{202a}\u{2066}\u{202c}\u{2069}\u{202c}",
            "\u{202a}\u{2066}\u{2069}\u{202c}",
            bidi(1),
        );
        check("\u{2066}\u{202e}a\u{2069}\u{202c}", "\u{2066}a\u{2069}", bidi(2));
        check("\u{2069}\u{202c}", "", bidi(2));
        check("hi\u{e0068}\u{e0069}\u{e007f}!", "hi!", tags(3));
        check("🏴\u{e0067}\u{e0062}", "🏴", tags(2));
        check(
            "🏴\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e007f}",
            "🏴",
            tags(9),
        );
        check("🏴 \u{e0067}\u{e0062}\u{e0065}\u{e007f}", "🏴 ", tags(4));
        check("a\u{200d}b", "ab", joiners(1));
        check("👩\u{200d}a", "👩a", joiners(1));
        check("👩\u{200d}\u{200d}👧", "👩\u{200d}👧", joiners(1));
        check("م\u{200d}\u{200d}\u{200d}م", "م\u{200d}م", joiners(2));
        check("a\u{fe0f} \u{fe0e}", "a ", joiners(2));
        check("😀\u{fe0f}\u{fe0f}\u{fe01}\u{e0101}", "😀\u{fe0f}", joiners(3));
        check("a\u{e0101}", "a", joiners(1));
    }

    #[test]
    fn a_terminal_cannot_be_driven_or_deceived() {
        let check = |text: &str, expected: &str| {
            let view = for_terminal(text);
            assert_eq!(view, expected, "{text:?}");
            assert_eq!(matches!(view, Cow::Borrowed(_)), text == expected, "{text:?}");
        };
        check("a\tb\r\nc\n", "a\tb\r\nc\n");
        check("👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 क्‍ष é", "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 क्‍ष é");
        check("\u{1b}]0;x\u{7}", "\\u{1b}]0;x\\u{7}");
        check("good\rbad", "good\\rbad");
        check("a\r\r\n\u{9b}2J\r", "a\\r\r\n\\u{9b}2J\\r");
        check("\u{2066}a\u{2069}\u{202e}", "\\u{2066}a\\u{2069}\\u{202e}");
        check("\u{e0041}\u{feff}\u{fdd0}\u{10ffff}", "\\u{e0041}\\u{fdd0}\\u{10ffff}");
    }

    #[test]
    fn a_name_shows_all_of_itself() {
        for name in ["auth-pattern", "Käse 日本 😀", "👩‍🚀 क्‍ष 🏴󠁧󠁢󠁥󠁮󠁧󠁿"] {
            assert!(is_visible(name), "{name}");
        }
        for name in [
            "a\nb",
            "a\u{200d}",
            "\u{2066}a\u{2069}",
            "\u{e0041}",
            "\u{feff}a",
            "\u{fffe}",
            "a\u{85}",
        ] {
            assert!(!is_visible(name), "{name:?}");
        }
    }

    #[test]
    fn what_was_changed_is_said() {
        let (_, changes) = for_prompt("\0\u{e0041}\u{e0042}");
        assert_eq!(
            changes.describe(),
            "2 invisible tag characters left out, 1 control characters replaced"
        );
        assert!(changes.hid_something());
        assert_eq!(Changes::default().describe(), "");
        assert!(!for_prompt("\0\u{feff}a\u{200d}b").1.hid_something());
        let shared: Arc<str> = "clean 😀".into();
        assert!(Arc::ptr_eq(&shared, &shared_for_prompt(&shared)));
        assert_eq!(&*shared_for_prompt(&"\u{202e}x".into()), "x");
    }

    /// Texts made of the characters that matter, and of any.
    fn any_text() -> impl Strategy<Value = String> {
        let odd = "\0\u{1b}\u{85}\r\n\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{e0001}\u{e0067}\u{e0062}\u{e0065}\u{e007f}\u{200d}\u{fe0f}\u{fe0e}\u{e0100}\u{feff}\u{fffe}🏴👩🏽❤मم葛a1 ";
        let odd: Vec<char> = odd.chars().collect();
        prop::collection::vec(prop_oneof![4 => prop::sample::select(odd), 1 => any::<char>()], 0..30)
            .prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn a_second_application_changes_nothing(text in any_text()) {
            let (once, changes) = for_prompt(&text);
            let (twice, none) = for_prompt(&once);
            prop_assert_eq!(&twice, &once);
            prop_assert_eq!(none, Changes::default());
            prop_assert_eq!(changes == none, once == text);
            let shown = for_terminal(&text);
            prop_assert_eq!(for_terminal(&shown), shown.as_ref());
        }

        #[test]
        fn nothing_but_what_is_counted_goes_away(text in any_text()) {
            let (view, changes) = for_prompt(&text);
            let left_out = changes.bidi + changes.tags + changes.joiners + changes.byte_order_marks;
            prop_assert_eq!(view.chars().count() + left_out, text.chars().count());
            prop_assert!(view.chars().all(|c| !matches!(class(c), Class::Control | Class::ByteOrderMark)));
            let kept = |text: &str| text.chars().filter(|c| class(*c) == Class::Plain && *c != '\u{fffd}').collect::<String>();
            prop_assert_eq!(kept(&view), kept(&text));
        }

        #[test]
        fn what_a_terminal_gets_is_visible(text in any_text()) {
            let shown = for_terminal(&text);
            prop_assert!(!shown.chars().any(|c| matches!(class(c), Class::Control | Class::Bidi | Class::Noncharacter)));
            prop_assert!(!shown.replace("\r\n", "").contains('\r'));
        }
    }
}
