//! Summaries by algorithm: the sentences whose words carry the text, in the text's order; and headings.
//!
//! Refuses to know: languages. Invariant: every sentence given is in the text.

use std::collections::BTreeMap;

use unicode_segmentation::UnicodeSegmentation;

use crate::domain::text;

/// Bytes of a text that are looked at.
const BYTES_MAX: usize = 96 * 1024;
/// Bytes of one sentence that are given.
const SENTENCE_BYTES_MAX: usize = 280;
/// Sentences that are scored.
const SENTENCES_MAX: usize = 600;

const STOP_WORDS: &[&str] = &[
    "about", "after", "also", "and", "any", "are", "but", "can", "does", "for", "from", "had", "has", "have", "how",
    "into", "its", "may", "more", "must", "not", "one", "only", "our", "out", "own", "such", "than", "that", "the",
    "their", "them", "then", "there", "these", "they", "this", "was", "what", "when", "which", "will", "with", "you",
    "your", "und", "der", "die", "das", "ist", "les", "des", "une", "que",
];

fn window(content: &str) -> &str {
    let mut end = content.len().min(BYTES_MAX);
    while !content.is_char_boundary(end) {
        end -= 1;
    }
    &content[..end]
}

/// A line as plain text: no control, invisible or direction characters, at most `bytes_max` bytes.
pub(super) fn plain(line: &str, bytes_max: usize) -> String {
    let visible: String = line
        .chars()
        .filter(|c| {
            !matches!(*c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
                | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
        })
        .collect();
    text::preview(&visible, bytes_max)
}

/// The headings of a Markdown, AsciiDoc or reStructuredText document.
pub(super) fn headings(content: &str, count_max: usize) -> Vec<String> {
    let mut headings = Vec::new();
    let mut fenced = false;
    let mut previous = "";
    for line in window(content).lines() {
        if line.starts_with("```") || line.starts_with("~~~") {
            fenced = !fenced;
        } else if !fenced {
            let marks = line.chars().take_while(|c| *c == '#' || *c == '=').count();
            let underlined = marks >= 4 && marks == line.trim_end().len() && line.starts_with('=');
            if underlined && !previous.trim().is_empty() && !previous.starts_with('=') {
                headings.push(plain(previous, 100));
            } else if (1..=6).contains(&marks) && line[marks..].starts_with(' ') {
                headings.push(plain(line[marks..].trim().trim_end_matches('#'), 100));
            }
        }
        previous = line;
        if headings.len() == count_max {
            break;
        }
    }
    headings.retain(|heading| !heading.is_empty());
    headings
}

/// Sentences of the prose: code, tables, badges and markup left out.
fn sentences(content: &str) -> Vec<String> {
    let mut blocks: Vec<String> = vec![String::new()];
    let mut fenced = false;
    for line in window(content).lines() {
        let line = line.trim();
        if line.starts_with("```") || line.starts_with("~~~") {
            fenced = !fenced;
            blocks.push(String::new());
            continue;
        }
        let skipped = fenced || line.is_empty() || line.starts_with(['#', '|', '<', '=', '[', '!']);
        if skipped {
            blocks.push(String::new());
            continue;
        }
        let item = line.trim_start_matches(['-', '*', '>', ' ']);
        if item.len() != line.len() {
            blocks.push(String::new());
        }
        let block = blocks.last_mut().expect("never empty");
        if !block.is_empty() {
            block.push(' ');
        }
        block.push_str(item);
    }
    let mut found = Vec::new();
    for block in blocks {
        for sentence in block.split_sentence_bounds() {
            let sentence = plain(sentence, SENTENCE_BYTES_MAX);
            if sentence.unicode_words().take(4).count() == 4 || sentence.chars().any(|c| c > '\u{2e80}') {
                found.push(sentence);
            }
            if found.len() == SENTENCES_MAX {
                return found;
            }
        }
    }
    found
}

fn words(sentence: &str) -> Vec<String> {
    sentence
        .unicode_words()
        .map(str::to_lowercase)
        .filter(|word| word.chars().count() > 2 && !STOP_WORDS.contains(&word.as_str()))
        .collect()
}

/// The `count` sentences that say most, in order. `about` are words that matter more (a question, headings).
pub(super) fn summarise(content: &str, about: &str, count: usize) -> Vec<String> {
    let sentences = sentences(content);
    let mut frequency: BTreeMap<String, u64> = BTreeMap::new();
    let split: Vec<Vec<String>> = sentences.iter().map(|sentence| words(sentence)).collect();
    for word in split.iter().flatten() {
        *frequency.entry(word.clone()).or_default() += 1;
    }
    let mut wanted = words(about);
    wanted.extend(headings(content, 40).iter().flat_map(|heading| words(heading)));
    let mut scored: Vec<(u64, usize)> = split
        .iter()
        .enumerate()
        .map(|(index, words)| {
            let carried: u64 = words
                .iter()
                .map(|word| frequency[word].min(20) * if wanted.contains(word) { 3 } else { 1 })
                .sum();
            // Long sentences carry more words by being long; the first ones of a document say what it is.
            let early = if index < 3 { 3 - index as u64 } else { 0 };
            (carried * 100 / (words.len() as u64 + 6) + early * 40, index)
        })
        .collect();
    scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut chosen: Vec<usize> = Vec::new();
    for (_, index) in scored {
        let repeated = chosen.iter().any(|other| sentences[*other] == sentences[index]);
        if !repeated {
            chosen.push(index);
        }
        if chosen.len() == count {
            break;
        }
    }
    chosen.sort_unstable();
    chosen.into_iter().map(|index| sentences[index].clone()).collect()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn sentences_are_taken_from_prose_in_its_order() {
        let text = "# Clock\n\n[badge](x)\n\nThe clock tells the time to every actor. It was painted blue last year.\n\n\
                    ```\nlet code = the clock clock clock;\n```\n\nActors ask the clock for the time. Bananas are tasty fruit indeed.\n";
        let found = summarise(text, "", 2);
        assert_eq!(
            found,
            [
                "The clock tells the time to every actor.",
                "Actors ask the clock for the time."
            ]
        );
    }

    #[test]
    fn headings_skip_code_and_know_underlines() {
        let text = "Title\n=====\n\n```sh\n# not one\n```\n## Second ##\n#hash\n";
        assert_eq!(headings(text, 10), ["Title", "Second"]);
    }

    #[test]
    fn hostile_text_becomes_one_plain_line() {
        assert_eq!(plain("a\u{202e}b\0c\u{e0041}\u{200b}d", 50), "ab cd");
        assert_eq!(plain("👨‍👩‍👧‍👦", 50), "👨‍👩‍👧‍👦");
    }
}
