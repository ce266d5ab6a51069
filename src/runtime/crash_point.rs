//! A debug facility: the process kills itself right before or right after its N-th commit.
//!
//! A crash between two commits is the only kind of crash that recovery can tell from another one, so a test that
//! visits every N has visited every state that a crash can leave. Off unless one of these variables is set for
//! `openclaw start`:
//!
//! - `OPENCLAW_CRASH_BEFORE_COMMIT=N`: the N-th transaction is not written;
//! - `OPENCLAW_CRASH_AT_COMMIT=N`: it is durable, and nobody has been told.
//!
//! The variables are read once, by the composition root; only the committer's thread holds the counter, and a
//! committer without a crash point pays one comparison for each transaction. The end is SIGKILL, so that nothing
//! is flushed, unwound or answered, as when the machine is switched off.

use rustix::process::{Signal, getpid, kill_process};

/// When the process is to kill itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CrashPoint {
    before: Option<u64>,
    after: Option<u64>,
}

impl CrashPoint {
    /// Never.
    pub const NONE: Self = Self {
        before: None,
        after: None,
    };
    /// The variable for a crash before a commit.
    pub const BEFORE: &str = "OPENCLAW_CRASH_BEFORE_COMMIT";
    /// The variable for a crash after a commit.
    pub const AFTER: &str = "OPENCLAW_CRASH_AT_COMMIT";

    /// What these variables ask for; what is no number from 1 asks for nothing.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name| variable(name)?.parse().ok().filter(|number| *number > 0);
        Self {
            before: number(Self::BEFORE),
            after: number(Self::AFTER),
        }
    }

    /// Whether it is to kill itself at some commit.
    pub(super) fn is_armed(self) -> bool {
        self != Self::NONE
    }

    /// Called before the transaction of this number, counted from 1.
    pub(super) fn before(self, number: u64) {
        if self.before == Some(number) {
            die();
        }
    }

    /// Called when the transaction of this number is durable and nobody has been told.
    pub(super) fn after(self, number: u64) {
        if self.after == Some(number) {
            die();
        }
    }
}

fn die() -> ! {
    kill_process(getpid(), Signal::KILL).ok();
    loop {
        // The signal may reach another thread first; this one must not go on.
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_from_one_arms_it() {
        let check = |name: &str, value: &str, expected: CrashPoint| {
            let variable = |asked: &str| (asked == name).then(|| value.to_owned());
            assert_eq!(CrashPoint::from_variables(variable), expected, "{name}={value}");
        };
        let armed = |before, after| CrashPoint { before, after };
        check(CrashPoint::BEFORE, "7", armed(Some(7), None));
        check(CrashPoint::AFTER, "1", armed(None, Some(1)));
        check(CrashPoint::AFTER, "0", CrashPoint::NONE);
        check(CrashPoint::AFTER, "often", CrashPoint::NONE);
        check("OPENCLAW_OTHER", "1", CrashPoint::NONE);
    }
}
