//! What can happen to a program while the shim waits for its end.

/// What the shim waits for.
pub(in crate::skills) enum Event {
    /// The daemon closed its pipe: it cancelled, or it is gone.
    CallerLeft,
    /// The program ended; it is still to be reaped.
    ProgramEnded,
    /// It and what it started have more of this than they may have.
    Overran(String),
}
