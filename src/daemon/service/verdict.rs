//! Whether the watchdog may be fed: pure.
//!
//! Liveness is progress, never silence: each part must have answered by itself in this round.

/// What one part answered in this round; the error says what was missing.
pub type Answer = (&'static str, Result<(), String>);

/// What follows from a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All parts make progress.
    Feed,
    /// Some do not; one line for people.
    Starve(String),
}

/// Judges a round. No answers at all is no progress.
pub fn judge(answers: &[Answer]) -> Verdict {
    if answers.is_empty() {
        return Verdict::Starve("nothing was asked".to_owned());
    }
    let missing = answers.iter().filter_map(|(part, answer)| {
        let reason = answer.as_ref().err()?;
        Some(format!("{part}: {reason}"))
    });
    let missing: Vec<String> = missing.collect();
    if missing.is_empty() {
        Verdict::Feed
    } else {
        Verdict::Starve(missing.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_of_every_part_feeds_the_watchdog() {
        let check = |answers: &[Answer], wanted: Verdict| assert_eq!(judge(answers), wanted);
        let late = || Err("no answer in 5s".to_owned());
        check(&[], Verdict::Starve("nothing was asked".into()));
        check(&[("store", Ok(())), ("root", Ok(()))], Verdict::Feed);
        check(
            &[("store", late()), ("root", Ok(()))],
            Verdict::Starve("store: no answer in 5s".into()),
        );
        check(
            &[("store", late()), ("gateway", Err("status 503".into()))],
            Verdict::Starve("store: no answer in 5s; gateway: status 503".into()),
        );
    }
}
