//! What the checks of an installation come to, one by one and together.

use super::error::Exit;

/// What one check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is as it should be.
    Good,
    /// It is not.
    Finding,
    /// It could not be looked at.
    Unchecked,
}

impl State {
    /// The word of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Finding => "finding",
            Self::Unchecked => "unchecked",
        }
    }

    /// The exit of all checks together: the worst. 2 for one that could not be made comes before 1 for a finding; both
    /// are the numbers that programs which check are known by.
    pub fn exit_of(states: impl Iterator<Item = Self>) -> Exit {
        states.fold(Exit::Done, |exit, state| match (state, exit) {
            (Self::Unchecked, _) => Exit::Usage,
            (Self::Finding, Exit::Done) => Exit::Failed,
            _ => exit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_looked_at_comes_before_what_was_found() {
        let check =
            |states: &[State], exit: Exit| assert_eq!(State::exit_of(states.iter().copied()), exit, "{states:?}");
        check(&[], Exit::Done);
        check(&[State::Good, State::Good], Exit::Done);
        check(&[State::Good, State::Finding, State::Good], Exit::Failed);
        check(&[State::Unchecked, State::Finding], Exit::Usage);
        check(&[State::Finding, State::Unchecked, State::Good], Exit::Usage);
    }
}
