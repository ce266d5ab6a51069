//! When two texts say the same: what is left of a text without what makes no difference.
//!
//! Refuses to know: vectors, stores. Invariants: pure; the same words in the same order; whatever carries meaning
//! stays: every number, every negation, every name, the order of words, the mark of a question.
//!
//! Nearness of vectors does not decide this. By the built-in embedder "Tokens are rotated every Monday" and the same
//! with Friday are 0.980 alike, "Alice owes Bob" and "Bob owes Alice" 1.000, but "The key is in the vault" and "The
//! key lives in the vault" only 0.933: no threshold takes the one and leaves the others (`ops/decisions`, 0014).

use std::borrow::Cow;

/// Words that say nothing about anything.
const EMPTY_WORDS: &[&str] = &["a", "an", "please", "the"];

/// Short forms and what they stand for; what follows an `n't` is a negation and must not get lost.
const SHORT_FORMS: &[(&str, &str)] = &[
    ("can't", "can not"),
    ("cannot", "can not"),
    ("won't", "will not"),
    ("shan't", "shall not"),
    ("i'm", "i am"),
    ("it's", "it is"),
    ("that's", "that is"),
    ("there's", "there is"),
    ("let's", "let us"),
];

/// Endings of short forms and what they stand for.
const SHORT_ENDINGS: &[(&str, &str)] = &[("n't", " not"), ("'re", " are"), ("'ve", " have"), ("'ll", " will")];

/// Calls `each` with the words of a text that carry meaning, in order.
///
/// Left out are white space, articles, the marks between and around words, and case where it is that of ordinary
/// writing; short forms count as what they stand for. A word with a capital inside (`userId`) keeps its case, and a
/// question keeps its mark.
pub fn each_word(text: &str, mut each: impl FnMut(&str)) {
    let mut is_first = true;
    for raw in text.split_whitespace() {
        let (word, asks) = bare(raw);
        if !word.is_empty() {
            let word = cased(word);
            // `Plan A` names something; an article is written small or begins the text.
            let is_article = raw.starts_with(char::is_lowercase) || is_first;
            if !(is_article && EMPTY_WORDS.contains(&&*word)) {
                match long_form(&word) {
                    Some(long) => long.split(' ').for_each(&mut each),
                    None => each(&word),
                }
            }
            is_first = false;
        }
        if asks {
            each("?");
        }
    }
}

/// A word without the marks around it, and whether it ended a question. Marks that belong to a word (`-5`, `$5`, `5%`,
/// `C++`, `.env`, `--force`) stay.
fn bare(raw: &str) -> (&str, bool) {
    let is_around = |c: char| matches!(c, '"' | '\'' | '“' | '”' | '‘' | '’' | '(' | ')' | '`');
    let is_after = |c: char| is_around(c) || matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '…');
    let word = raw.trim_start_matches(is_around).trim_end_matches(is_after);
    let asks = raw.trim_end_matches(is_around).ends_with('?');
    if word.is_empty() && !asks {
        // Marks alone say something where they stand alone, such as a dash; those of a sentence do not.
        return (raw.trim_matches(is_after), false);
    }
    (word, asks)
}

/// In small letters, unless the capitals are a name's own: some, but not all and not just the first.
fn cased(word: &str) -> Cow<'_, str> {
    let mut letters = word.chars().filter(|c| c.is_alphabetic());
    let first_is_capital = letters.next().is_some_and(char::is_uppercase);
    let (mut capitals, mut smalls) = (0, 0);
    for letter in letters {
        if letter.is_uppercase() {
            capitals += 1;
        } else {
            smalls += 1;
        }
    }
    if capitals > 0 && (smalls > 0 || !first_is_capital) {
        return Cow::Borrowed(word);
    }
    if word.chars().any(char::is_uppercase) || word.contains('’') {
        let lower = word.chars().flat_map(char::to_lowercase);
        return Cow::Owned(lower.map(|c| if c == '’' { '\'' } else { c }).collect());
    }
    Cow::Borrowed(word)
}

fn long_form(word: &str) -> Option<Cow<'static, str>> {
    if let Some((_, long)) = SHORT_FORMS.iter().find(|(short, _)| *short == word) {
        return Some(Cow::Borrowed(long));
    }
    let (short, ending) = SHORT_ENDINGS
        .iter()
        .find_map(|(short, ending)| Some((word.strip_suffix(short)?, ending)))?;
    (!short.is_empty()).then(|| Cow::Owned(format!("{short}{ending}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each_word(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn texts_that_say_the_same_are_the_same() {
        let check = |one: &str, other: &str| assert_eq!(words(one), words(other), "`{one}` and `{other}`");
        check("The deploy key is in the vault.", "the  deploy key\nis in the vault");
        check("Deploy key is in vault!", "The deploy key is in the vault");
        check("\"Use tabs\", please.", "use tabs");
        check("It's not done; don't merge.", "It is not done, do not merge");
        check("It’s done", "it is done");
        check("THE BUILD IS BROKEN", "The build is broken.");
        check("You can't push", "you cannot push");
        check("Is it open?", "is it open ?");
    }

    #[test]
    fn a_negation_a_number_a_name_an_order_or_a_question_makes_them_differ() {
        let check = |one: &str, other: &str| assert_ne!(words(one), words(other), "`{one}` and `{other}`");
        check("The deploy key is in the vault.", "The deploy key is not in the vault.");
        check("The deploy key is in the vault.", "The deploy key isn't in the vault.");
        check("Merge it with tests", "Merge it without tests");
        check("Nobody may push", "Anybody may push");
        check("The server listens on port 8080", "The server listens on port 8081");
        check("It costs $5", "It costs 5");
        check("The limit is 5", "The limit is -5");
        check("The limit is 5", "The limit is 5%");
        check("The limit is 1.5", "The limit is 15");
        check("Tokens are rotated every Monday.", "Tokens are rotated every Friday.");
        check("Alice owes Bob five dollars", "Bob owes Alice five dollars");
        check("The key is in the vault", "The key was in the vault");
        check("It is open.", "It is open?");
        check("Plan A is active", "Plan is active");
        check("Set userId", "Set userid");
        check("Write C++", "Write C");
        check("rm file", "rm -f file");
        check("Use .env", "Use env");
        check("a - b", "a b");
        check("日本語", "中国語");
    }

    #[test]
    fn no_text_is_too_odd() {
        for text in ["", " ", "?", "...", "n't", "'", "a", "The", "\u{200d}", "—"] {
            words(text);
        }
        assert_eq!(words("n't"), ["n't"]);
    }
}
