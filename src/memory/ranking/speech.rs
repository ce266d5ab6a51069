//! What an entry's text shows of itself without being understood: who speaks, whether it tells a time, whether it
//! only asks. And whether a question asks for a time.
//!
//! Refuses to know: scores, entries. Invariants: pure; linear in the text; a text in another form than these has no
//! speaker, which costs nothing.

/// Bytes at the beginning in which a speaker's name is looked for.
const HEAD_BYTES: usize = 96;
/// Words of a name.
const NAME_WORDS_MAX: usize = 3;

/// Words that tell a time, sorted.
const TIME_WORDS: &[&str] = &[
    "afternoon",
    "ago",
    "april",
    "august",
    "autumn",
    "birthday",
    "christmas",
    "daily",
    "decade",
    "december",
    "easter",
    "evening",
    "february",
    "friday",
    "hour",
    "hours",
    "january",
    "july",
    "june",
    "last",
    "later",
    "march",
    "may",
    "midnight",
    "minutes",
    "monday",
    "month",
    "months",
    "morning",
    "next",
    "night",
    "noon",
    "november",
    "october",
    "saturday",
    "september",
    "since",
    "spring",
    "summer",
    "sunday",
    "thursday",
    "today",
    "tomorrow",
    "tonight",
    "tuesday",
    "until",
    "wednesday",
    "week",
    "weekend",
    "weekly",
    "weeks",
    "winter",
    "year",
    "years",
    "yesterday",
];

/// An entry's text, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speech<'t> {
    /// Who speaks: `Anna` of `Anna: good morning`, also after a date.
    pub speaker: Option<&'t str>,
    /// What is said.
    pub body: &'t str,
}

impl<'t> Speech<'t> {
    /// Takes a text apart.
    pub fn of(text: &'t str) -> Self {
        let mut end = text.len().min(HEAD_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let head = &text[..end];
        let begins: [fn(&str) -> Option<usize>; 3] = [
            |before| before.ends_with(':').then(|| before.len() - 1),
            |before| before.strip_suffix(" said,").map(str::len),
            |before| before.strip_suffix(" says:").map(str::len),
        ];
        for begin in begins {
            // Every mark ends with a blank behind a colon or comma: to look for that costs less than three searches.
            let blanks = head.bytes().enumerate().filter(|(_, byte)| *byte == b' ');
            for (blank, _) in blanks {
                let Some(at) = begin(&head[..blank]) else { continue };
                if let Some(speaker) = name_at_the_end(&head[..at]) {
                    return Self {
                        speaker: Some(speaker),
                        body: &text[blank + 1..],
                    };
                }
            }
        }
        Self {
            speaker: None,
            body: text,
        }
    }

    /// Whether the body names a time.
    pub fn tells_time(&self) -> bool {
        words(self.body).any(|word| word.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) || is_time_word(word))
    }

    /// The part of the body's sentences that are questions, 0 to 1.
    pub fn asks(&self) -> f32 {
        if !self.body.contains(['?', '？']) {
            return 0.0;
        }
        let (mut questions, mut others) = (0u32, 0u32);
        let mut before = ' ';
        for character in self.body.chars() {
            // Several marks in a row end one sentence.
            let is_end = |character: char| matches!(character, '?' | '.' | '!' | '？' | '。' | '！');
            if is_end(character) && !is_end(before) {
                if matches!(character, '?' | '？') {
                    questions += 1;
                } else {
                    others += 1;
                }
            }
            before = character;
        }
        questions as f32 / (questions + others) as f32
    }
}

/// Whether a word is one of a time, in whatever case. This is asked for every word that is kept, so it is looked for
/// among those with its first letter only.
fn is_time_word(word: &str) -> bool {
    let Some(first) = word.bytes().next().map(|byte| byte.to_ascii_lowercase()) else {
        return false;
    };
    if !first.is_ascii_lowercase() {
        return false;
    }
    let (begin, end) = BY_LETTER[usize::from(first - b'a')];
    let mut known = TIME_WORDS[begin..end].iter();
    known.any(|known| known.eq_ignore_ascii_case(word))
}

/// Where the time words with each first letter begin and end.
const BY_LETTER: [(usize, usize); 26] = {
    let mut places = [(0, 0); 26];
    let mut at = 0;
    while at < TIME_WORDS.len() {
        let letter = (TIME_WORDS[at].as_bytes()[0] - b'a') as usize;
        if places[letter].1 == 0 {
            places[letter].0 = at;
        }
        places[letter].1 = at + 1;
        at += 1;
    }
    places
};

/// Whether a question asks for a time.
pub fn wants_time(question: &str) -> bool {
    let lower = question.to_lowercase();
    let mut before = "";
    words(&lower).any(|word| {
        let is_asked = match before {
            "how" => matches!(word, "long" | "often" | "soon"),
            "what" | "which" => matches!(
                word,
                "time" | "date" | "day" | "days" | "month" | "year" | "week" | "weekday"
            ),
            _ => false,
        };
        before = word;
        word == "when" || is_asked
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// The name that ends a text: up to three words that begin with a capital.
fn name_at_the_end(text: &str) -> Option<&str> {
    let mut start = text.len();
    let mut left = text;
    for _ in 0..NAME_WORDS_MAX {
        let word = left.rsplit(' ').next().unwrap_or(left);
        let is_name = word.chars().next().is_some_and(char::is_uppercase)
            && word
                .chars()
                .all(|character| character.is_alphabetic() || matches!(character, '-' | '\''));
        if !is_name {
            break;
        }
        start = left.len() - word.len();
        left = left[..start].trim_end_matches(' ');
    }
    (start < text.len()).then(|| &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speaker_is_found_in_the_usual_forms_and_nowhere_else() {
        let check = |text: &str, speaker: Option<&str>, body: &str| {
            assert_eq!(Speech::of(text), Speech { speaker, body }, "{text:?}");
        };
        check("Anna: good morning", Some("Anna"), "good morning");
        check("[1:56 pm on 8 May, 2023] Anna: hi: you", Some("Anna"), "hi: you");
        check("8 May 2023 Anna Lena: hi", Some("Anna Lena"), "hi");
        check("(8 May) Anna said, \"hi\"", Some("Anna"), "\"hi\"");
        check("the key: it is in the vault", None, "the key: it is in the vault");
        check("http://x: y", None, "http://x: y");
        check("", None, "");
        let far = format!("{} Anna: hi", "x".repeat(100));
        check(&far, None, &far);
        let cut = "ä".repeat(60);
        check(&cut, None, &cut);
    }

    #[test]
    fn times_and_questions_are_seen() {
        let check = |text: &str, time: bool, asks: f32| {
            let speech = Speech::of(text);
            assert_eq!(speech.tells_time(), time, "{text:?}");
            assert!((speech.asks() - asks).abs() < 1e-6, "{text:?}: {}", speech.asks());
        };
        check("Anna: I went there yesterday.", true, 0.0);
        check("8 May 2023 Anna: I went there.", false, 0.0);
        check("Anna: On the 14th!", true, 0.0);
        check("Anna: Really?! How so?", false, 1.0);
        check("I see. And you?", false, 0.5);
        check("", false, 0.0);
        for (question, expected) in [
            ("When did Anna leave?", true),
            ("How long was it?", true),
            ("Which month?", true),
            ("What did she say?", false),
            ("whenever", false),
        ] {
            assert_eq!(wants_time(question), expected, "{question}");
        }
    }

    #[test]
    fn the_time_words_are_sorted_for_the_search() {
        assert!(TIME_WORDS.is_sorted());
    }
}
