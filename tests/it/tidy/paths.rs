//! The paths that a source file names: those of `use` and those within code, made absolute.

use super::source::{Keep, SourceFile, code};

/// A path in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The line, from 1.
    pub(crate) line: usize,
    /// From the crate's root without `crate`, or from another crate with its name.
    pub(crate) path: Vec<String>,
    /// It leads into this crate.
    pub(crate) is_own: bool,
    /// Only a test build sees it.
    pub(crate) is_test: bool,
    /// It is named by a `use` that hands it on.
    pub(crate) is_public_use: bool,
}

/// The module that a file is: `src/llm/client.rs` is `["llm", "client"]`.
pub(crate) fn module(path: &str) -> Vec<String> {
    let inner = path.split_once("src/").map_or(path, |(_, inner)| inner);
    let mut parts: Vec<String> = inner.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Path,
    Sign(char),
}

fn tokens(text: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    for (index, line) in code(text, Keep::Code).lines().enumerate() {
        let characters: Vec<char> = line.chars().collect();
        let mut at = 0;
        while at < characters.len() {
            let start = at;
            while at < characters.len() && (characters[at].is_alphanumeric() || characters[at] == '_') {
                at += 1;
            }
            if at > start {
                tokens.push((index + 1, Token::Word(characters[start..at].iter().collect())));
            } else if characters[at] == ':' && characters.get(at + 1) == Some(&':') {
                tokens.push((index + 1, Token::Path));
                at += 2;
            } else {
                if !characters[at].is_whitespace() {
                    tokens.push((index + 1, Token::Sign(characters[at])));
                }
                at += 1;
            }
        }
    }
    tokens
}

struct Reader<'a> {
    tokens: &'a [(usize, Token)],
    at: usize,
    file: Vec<String>,
    /// For each open bracket: the inline module that it opens, and whether it is for tests alone.
    scopes: Vec<(Option<String>, bool)>,
    /// `#[cfg(test)]` was seen and its item has not begun.
    test_pending: bool,
    /// The name after `mod`, until its bracket or semicolon.
    module_pending: Option<String>,
    found: Vec<Reference>,
}

/// Every path of a file.
pub(crate) fn references(file: &SourceFile) -> Vec<Reference> {
    let tokens = tokens(&file.text);
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        file: module(&file.path),
        scopes: Vec::new(),
        test_pending: false,
        module_pending: None,
        found: Vec::new(),
    };
    reader.read();
    reader.found
}

/// Modules that a file declares for test builds alone, absolute.
pub(crate) fn test_modules(file: &SourceFile) -> Vec<Vec<String>> {
    let text = code(&file.text, Keep::Code);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for part in flat.split("#[cfg(test)]").skip(1) {
        let words: Vec<&str> = part.split(';').next().unwrap_or("").split_whitespace().collect();
        if let Some(["mod", name]) = words.get(words.len().saturating_sub(2)..)
            && words.len() <= 3
        {
            let mut path = module(&file.path);
            path.push((*name).to_owned());
            found.push(path);
        }
    }
    found
}

impl Reader<'_> {
    fn token(&self, offset: usize) -> Option<&Token> {
        self.tokens.get(self.at + offset).map(|(_, token)| token)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |(line, _)| *line)
    }

    fn word(&self, offset: usize) -> Option<&str> {
        match self.token(offset) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn is_sign(&self, offset: usize, sign: char) -> bool {
        self.token(offset) == Some(&Token::Sign(sign))
    }

    fn is_test(&self) -> bool {
        self.test_pending || self.scopes.iter().any(|(_, is_test)| *is_test)
    }

    fn read(&mut self) {
        while self.at < self.tokens.len() {
            if self.starts_test_attribute() {
                self.test_pending = true;
                self.at += 7;
            } else if self.is_sign(0, '{') {
                let scope = (self.module_pending.take(), std::mem::take(&mut self.test_pending));
                self.scopes.push(scope);
                self.at += 1;
            } else if self.is_sign(0, '}') {
                self.scopes.pop();
                self.at += 1;
            } else if self.is_sign(0, ';') {
                self.test_pending = false;
                self.module_pending = None;
                self.at += 1;
            } else if self.word(0) == Some("mod") && self.word(1).is_some() {
                self.module_pending = self.word(1).map(str::to_owned);
                self.at += 2;
            } else if self.word(0) == Some("use") && !matches!(self.token(1), Some(Token::Sign('<'))) {
                let is_public = self.at > 0 && {
                    let before = &self.tokens[self.at - 1].1;
                    *before == Token::Word("pub".into()) || *before == Token::Sign(')')
                };
                self.at += 1;
                self.tree(Vec::new(), is_public);
            } else if self.word(0).is_some() && self.token(1) == Some(&Token::Path) {
                self.inline();
            } else {
                self.at += 1;
            }
        }
    }

    fn starts_test_attribute(&self) -> bool {
        self.is_sign(0, '#')
            && self.is_sign(1, '[')
            && self.word(2) == Some("cfg")
            && self.is_sign(3, '(')
            && self.word(4) == Some("test")
            && self.is_sign(5, ')')
            && self.is_sign(6, ']')
    }

    /// One branch of a `use` tree.
    fn tree(&mut self, mut path: Vec<String>, is_public: bool) {
        let line = self.line();
        loop {
            if let Some(word) = self.word(0).map(str::to_owned) {
                self.at += 1;
                if word == "as" {
                    self.at += 1;
                    continue;
                }
                path.push(word);
            } else if self.token(0) == Some(&Token::Path) || self.is_sign(0, '*') {
                self.at += 1;
            } else if self.is_sign(0, '{') {
                self.at += 1;
                while self.at < self.tokens.len() && !self.is_sign(0, '}') {
                    self.tree(path.clone(), is_public);
                    if self.is_sign(0, ',') {
                        self.at += 1;
                    }
                }
                self.at += 1;
                return;
            } else {
                break;
            }
        }
        self.add(line, path, is_public);
    }

    fn inline(&mut self) {
        let line = self.line();
        let mut path = Vec::new();
        while let Some(word) = self.word(0).map(str::to_owned) {
            path.push(word);
            self.at += 1;
            if self.token(0) != Some(&Token::Path) {
                break;
            }
            self.at += 1;
        }
        self.add(line, path, false);
    }

    fn add(&mut self, line: usize, path: Vec<String>, is_public_use: bool) {
        let mut base = self.file.clone();
        base.extend(self.scopes.iter().filter_map(|(name, _)| name.clone()));
        let mut is_own = true;
        let mut rest = path.as_slice();
        match path.first().map(String::as_str) {
            Some("crate") => {
                base.clear();
                rest = &rest[1..];
            }
            Some("self" | "super") => {
                while let Some(word @ ("self" | "super")) = rest.first().map(String::as_str) {
                    if word == "super" {
                        base.pop();
                    }
                    rest = &rest[1..];
                }
            }
            _ => {
                base.clear();
                is_own = false;
            }
        }
        base.extend(rest.iter().filter(|word| *word != "self").cloned());
        let is_test = self.is_test();
        self.found.push(Reference {
            line,
            path: base,
            is_own,
            is_test,
            is_public_use,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::made_up;

    #[test]
    fn paths_are_made_absolute_and_know_whether_they_are_for_tests() {
        let file = made_up(
            "src/llm/dialect/serve.rs",
            "use std::{fs, io::{self, Read as R}};\n\
             use super::super::wire::*;\n\
             pub use self::inner::X;\n\
             fn f() -> crate::domain::id::RunId { Vec::<u8>::new(); super::anthropic::go() }\n\
             #[cfg(test)] mod tests { use super::f; mod deep { use super::super::f; } }\n\
             fn g() { crate::domain::x() }",
        );
        let found: Vec<String> = references(&file)
            .iter()
            .map(|reference| {
                let own = if reference.is_own { "crate::" } else { "" };
                let test = if reference.is_test { " (test)" } else { "" };
                let public = if reference.is_public_use { " (pub)" } else { "" };
                format!("{} {own}{}{test}{public}", reference.line, reference.path.join("::"))
            })
            .collect();
        assert_eq!(
            found,
            [
                "1 std::fs",
                "1 std::io",
                "1 std::io::Read",
                "2 crate::llm::wire",
                "3 crate::llm::dialect::serve::inner::X (pub)",
                "4 crate::domain::id::RunId",
                "4 Vec",
                "4 crate::llm::dialect::anthropic::go",
                "5 crate::llm::dialect::serve::f (test)",
                "5 crate::llm::dialect::serve::f (test)",
                "6 crate::domain::x",
            ]
        );
    }

    #[test]
    fn modules_for_tests_alone_are_known() {
        let file = made_up(
            "src/llm/mod.rs",
            "pub mod a;\n#[cfg(test)]\nmod b;\n#[cfg(test)]\npub(crate) mod c;\nmod d;",
        );
        assert_eq!(test_modules(&file), [["llm", "b"], ["llm", "c"]]);
    }
}
