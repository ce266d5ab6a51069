//! When two texts say the same: what is left of a text without what makes no difference.
//!
//! Refuses to know: vectors, stores. Invariants: pure; the same words in the same order; whatever carries meaning
//! stays: every number, every negation, every name, the order of words, the mark of a question.
//!
//! Two forms: the same words ([`each_word`]), and the same words but for a small table of those that change nothing, and
//! but for where a sentence has its "in this project" ([`each_core_word`]). The second one needs the nearness of vectors
//! beside it.
//!
//! Nearness of vectors alone does not decide this. By the built-in embedder "Tokens are rotated every Monday" and the same
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

/// Words that change nothing, anywhere in a sentence. Not among them, because a sentence can hang on them: `just`,
/// `only`, `always`, `very`, `really`, `too`, `that`, `all`, every preposition, every pronoun, every form of the past.
const CORE_EMPTY: &[&str] = &[
    "actually",
    "also",
    "basically",
    "indeed",
    "kindly",
    "okay",
    "ok",
    "these",
    "this",
];

/// Change nothing either, but for the first word: what begins with them asks.
const CORE_VERBS: &[&str] = &["am", "are", "is"];

/// Two spellings of one word.
const SPELLINGS: &[(&str, &str)] = &[
    ("analyse", "analyze"),
    ("artefact", "artifact"),
    ("artefacts", "artifacts"),
    ("behaviour", "behavior"),
    ("cancelled", "canceled"),
    ("centre", "center"),
    ("colour", "color"),
    ("colours", "colors"),
    ("e-mail", "email"),
    ("e-mails", "emails"),
    ("favour", "favor"),
    ("favourite", "favorite"),
    ("grey", "gray"),
    ("initialise", "initialize"),
    ("neighbour", "neighbor"),
    ("neighbours", "neighbors"),
    ("normalise", "normalize"),
    ("optimise", "optimize"),
    ("organise", "organize"),
    ("till", "until"),
    ("towards", "toward"),
    ("upon", "on"),
    ("utilise", "use"),
    ("utilize", "use"),
    ("whilst", "while"),
];

/// Numbers as words. `one` is often a pronoun, so it stays what it is.
const NUMBERS: &[&str] = &[
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
];

/// Words that begin a phrase which may stand before its sentence or behind it.
const PHRASE_BEGINS: &[&str] = &["at", "during", "for", "in", "on", "within"];
/// Words of such a phrase at most.
const PHRASE_WORDS_MAX: usize = 6;

/// Calls `each` with what is left of a text when also the words are gone that change nothing, spellings and numbers are
/// in one form, and a phrase at the beginning (`In this project, …`) stands at the end.
///
/// Texts with the same core say nearly always the same; beside it their vectors have to be near.
pub fn each_core_word(text: &str, mut each: impl FnMut(&str)) {
    let mut is_first = true;
    let mut core = |word: &str| {
        let begins = std::mem::take(&mut is_first);
        if CORE_EMPTY.contains(&word) || (!begins && CORE_VERBS.contains(&word)) {
            return;
        }
        if let Some((_, other)) = SPELLINGS.iter().find(|(one, _)| *one == word) {
            return each(other);
        }
        if let Some(number) = NUMBERS.iter().position(|number| *number == word) {
            return each(&(number + 2).to_string());
        }
        match without_separators(word) {
            Some(number) => each(&number),
            None => each(word),
        }
    };
    match leading_phrase(text) {
        Some((phrase, rest)) => {
            each_word(rest, &mut core);
            each_word(phrase, core);
        }
        None => each_word(text, core),
    }
}

/// `In this project` and the rest of the one sentence that it begins.
fn leading_phrase(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let (phrase, rest) = text.split_once(", ")?;
    let begin = phrase.split_whitespace().next()?;
    let begins = PHRASE_BEGINS.iter().any(|known| known.eq_ignore_ascii_case(begin));
    let sentence = rest.trim_end_matches(['.', '!']);
    let is_one = !sentence.contains([',', ';', ':', '?', '\n']) && !sentence.contains(". ");
    let words = phrase.split_whitespace().count();
    (begins && is_one && words > 1 && words <= PHRASE_WORDS_MAX && !rest.trim().is_empty()).then_some((phrase, rest))
}

/// `5000` of `5,000`.
fn without_separators(word: &str) -> Option<String> {
    let (first, rest) = word.split_once(',')?;
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = (1..=3).contains(&first.len()) && digits(first);
    let mut groups = rest.split(',');
    (is_number && groups.all(|group| group.len() == 3 && digits(group))).then(|| word.replace(',', ""))
}

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

    fn core(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each_core_word(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn texts_with_the_same_core_say_the_same() {
        for (one, other) in [
            (
                "Use tabs for indentation in this project",
                "In this project, use tabs for indentation.",
            ),
            ("Use tabs in this project.", "Please use tabs in the project."),
            ("On Mondays, Alice pays Bob", "Alice pays Bob on Mondays"),
            (
                "At the end of a sprint, tag a release.",
                "Tag the release at the end of a sprint",
            ),
            ("The limit is 5,000 requests", "the limit is 5000 requests"),
            ("Alice owes Bob five dollars", "Alice owes Bob 5 dollars"),
            ("The colour of the logo is grey", "The color of the logo is gray."),
            ("Also send an e-mail to Anna", "Send an email to Anna"),
            ("Kindly wait until noon", "Wait till noon"),
            ("The data are in the lake", "The data is in the lake"),
            ("This build is broken", "The build is broken"),
            ("I'm allergic to nuts", "I am actually allergic to nuts"),
            ("We utilise redb", "We use redb"),
            ("It's in the vault", "It is in the vault."),
        ] {
            assert_eq!(core(one), core(other), "`{one}` and `{other}`");
        }
    }

    /// What has merged wrongly is lost: each of these pairs looks alike to a vector or to a set of words.
    #[test]
    fn a_core_keeps_whatever_makes_a_difference() {
        for (one, other) in [
            // Numbers, amounts, versions.
            ("The server listens on port 8080", "The server listens on port 8081"),
            ("The limit is 5,000", "The limit is 5,00"),
            ("The limit is 1.5", "The limit is 15"),
            ("Keep 5 backups", "Keep 50 backups"),
            ("It costs $5", "It costs 5"),
            ("Use Rust 1.90", "Use Rust 1.91"),
            ("The ratio is 1,5", "The ratio is 15"),
            ("Alice owes Bob five dollars", "Alice owes Bob nine dollars"),
            ("Take the first one", "Take the first 1"),
            ("Wait for 5 minutes", "Wait for 5 hours"),
            // Dates and times.
            ("Tokens are rotated every Monday.", "Tokens are rotated every Friday."),
            ("The release is on 3 May", "The release is on 5 March"),
            ("The meeting is at 9 am", "The meeting is at 9 pm"),
            ("It was open yesterday", "It is open yesterday"),
            ("The key is in the vault", "The key was in the vault"),
            ("The key is in the vault", "The key will be in the vault"),
            ("Deploy before noon", "Deploy after noon"),
            // Negation, and words that a sentence hangs on.
            ("The deploy key is in the vault.", "The deploy key is not in the vault."),
            ("The deploy key is in the vault.", "The deploy key isn't in the vault."),
            ("Merge it with tests", "Merge it without tests"),
            ("Nobody may push", "Anybody may push"),
            ("Never push to main", "Always push to main"),
            ("Only Alice may push", "Alice may push"),
            ("Just Alice may push", "Alice may push"),
            ("All tests pass", "Tests pass"),
            ("The soup is too hot", "The soup is hot"),
            ("It is not really done", "It is not done"),
            ("The server that failed", "The server failed"),
            ("You must rebase", "You may rebase"),
            ("Tests should pass", "Tests can pass"),
            ("It is open.", "Is it open?"),
            ("It is open.", "It is open?"),
            ("It is open", "Is it open"),
            ("I don't know that he lied", "I know that he lied"),
            // Names and identifiers.
            ("Ask Anna about billing", "Ask Anne about billing"),
            ("Plan A is active", "Plan is active"),
            ("Set userId", "Set userid"),
            ("Use .env", "Use env"),
            ("Write C++", "Write C"),
            ("Call get_user", "Call get_users"),
            ("rm file", "rm -f file"),
            ("Use the branch main", "Use the branch maintenance"),
            ("The university is closed", "The universe is closed"),
            ("Deploys run in staging", "Deploys run in production"),
            ("My car is red", "Your car is red"),
            ("He likes tea", "She likes tea"),
            // Roles, directions, order.
            ("Alice pays Bob", "Bob pays Alice"),
            ("Alice owes Bob five dollars", "Bob owes Alice five dollars"),
            ("The dog bit the man", "The man bit the dog"),
            ("Move it from A to B", "Move it from B to A"),
            ("Copy staging to production", "Copy production to staging"),
            ("Alice paid Bob", "Alice was paid by Bob"),
            ("On Monday, Alice pays Bob", "Bob pays Alice on Monday"),
            ("In May, sales rose in June", "In June, sales rose in May"),
            ("In staging, use the test key", "In production, use the test key"),
            ("Test first, then deploy", "Deploy first, then test"),
            ("On failure, stop, on success, go", "On success, stop, on failure, go"),
            (
                "For Anna, cook soup. For Bob, cook rice",
                "Cook soup. For Bob, cook rice for Anna",
            ),
            // One or many.
            ("Delete the file", "Delete the files"),
            ("Keep a backup", "Keep backups"),
            ("Alice pays the bill", "Alice paid the bill"),
        ] {
            assert_ne!(core(one), core(other), "`{one}` and `{other}`");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        for text in ["", " ", "?", "...", "n't", "'", "a", "The", "\u{200d}", "—"] {
            words(text);
            core(text);
        }
        for text in [",", "in", "In, ", "in a, ", ", ,", "1,", ",000", "in x, \u{200d}"] {
            core(text);
        }
        assert_eq!(words("n't"), ["n't"]);
    }
}
