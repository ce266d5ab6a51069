//! Regular expressions that are constants: each is compiled once in a process.

/// The compiled expression of a constant text.
macro_rules! pattern {
    ($text:expr $(,)?) => {{
        static COMPILED: std::sync::LazyLock<regex::Regex> =
            std::sync::LazyLock::new(|| regex::Regex::new($text).expect("the pattern is a constant"));
        &*COMPILED
    }};
}

pub(super) use pattern;
