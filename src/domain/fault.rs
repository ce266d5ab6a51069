//! The small closed set of faults that code branches on. Texts are for people; this is for programs.

/// What kind of thing went wrong, as far as a caller has to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The input cannot be used as it is.
    Invalid,
    /// The thing named does not exist.
    NotFound,
    /// The request contradicts the present state.
    Conflict,
    /// The caller may not do this.
    Denied,
    /// A limit is reached; the same request may pass later.
    Overloaded,
    /// A part that is needed is not there now.
    Unavailable,
    /// The time ran out.
    TimedOut,
    /// Stored data cannot be read; it is kept for inspection and never repaired silently.
    Corrupt,
    /// An invariant of the program is broken.
    Bug,
}

/// An error with its causes in one line, outermost first.
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
