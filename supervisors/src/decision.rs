//! The small decisions of a supervisor, each a pure function or a value with one rule: no clock, no tasks, no actors.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use crate::{AutoShutdown, Backoff, ChildId, ChildPolicy, ExitReason, Flags, Intensity, Restart, SpecError};

/// Tells whether a child that ended by itself is to be started again.
pub fn is_restarted(restart: Restart, reason: &ExitReason) -> bool {
    match restart {
        Restart::Permanent => true,
        Restart::Transient => !reason.is_orderly(),
        Restart::Temporary => false,
    }
}

/// The sliding window of restarts: one list for the whole supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartWindow {
    times: VecDeque<Duration>,
}

impl RestartWindow {
    /// Adds a restart at `now` and tells whether it is still bearable.
    ///
    /// The restart is added first, and the limit is passed when there are then more than `restarts` in the period.
    pub fn charge(&mut self, now: Duration, intensity: Intensity) -> bool {
        while self
            .times
            .front()
            .is_some_and(|time| now.saturating_sub(*time) > intensity.period)
        {
            self.times.pop_front();
        }
        self.times.push_back(now);
        self.times.len() <= intensity.restarts as usize
    }
}

/// The upper bound of the delay before restart number `attempt` since the child was healthy (the first is 0).
pub fn backoff_bound(backoff: &Backoff, attempt: u32) -> Duration {
    let Some(doublings) = attempt.checked_sub(1) else {
        return Duration::ZERO;
    };
    backoff
        .base
        .checked_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX))
        .unwrap_or(Duration::MAX)
        .min(backoff.cap)
}

/// Draws the delay before restart number `attempt`: anything from nothing to the bound.
pub fn backoff_delay(backoff: &Backoff, attempt: u32, random: &mut fastrand::Rng) -> Duration {
    let bound = u64::try_from(backoff_bound(backoff, attempt).as_nanos()).unwrap_or(u64::MAX);
    if bound == 0 {
        Duration::ZERO
    } else {
        Duration::from_nanos(random.u64(0..=bound))
    }
}

/// Checks a list of children against the flags they will live under.
pub fn check_specs<'a>(
    flags: &Flags,
    children: impl IntoIterator<Item = (&'a ChildId, &'a ChildPolicy)>,
) -> Result<(), SpecError> {
    check_flags(flags)?;
    let mut seen = HashSet::new();
    for (id, policy) in children {
        check_child(flags.auto_shutdown, id, policy)?;
        if !seen.insert(id) {
            return Err(SpecError::DuplicateId(id.clone()));
        }
    }
    Ok(())
}

/// Checks the flags of a supervisor.
pub fn check_flags(flags: &Flags) -> Result<(), SpecError> {
    if flags.intensity.period.is_zero() {
        Err(SpecError::ZeroPeriod)
    } else {
        Ok(())
    }
}

/// Checks one child against the supervisor's auto-shutdown.
pub fn check_child(auto_shutdown: AutoShutdown, id: &ChildId, policy: &ChildPolicy) -> Result<(), SpecError> {
    if id.as_str().is_empty() {
        return Err(SpecError::EmptyId);
    }
    if policy.significant && policy.restart == Restart::Permanent {
        return Err(SpecError::SignificantPermanent(id.clone()));
    }
    if policy.significant && auto_shutdown == AutoShutdown::Never {
        return Err(SpecError::SignificantWithoutAutoShutdown(id.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_limit_trips_at_one_more_than_the_intensity() {
        let intensity = Intensity {
            restarts: 2,
            period: secs(5),
        };
        let mut window = RestartWindow::default();
        assert!(window.charge(secs(0), intensity));
        assert!(window.charge(secs(1), intensity));
        assert!(!window.charge(secs(2), intensity));
    }

    #[test]
    fn restarts_wider_apart_than_the_period_never_trip() {
        let intensity = Intensity {
            restarts: 1,
            period: secs(5),
        };
        let mut window = RestartWindow::default();
        for round in 0..100 {
            assert!(window.charge(secs(round * 6), intensity));
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_cap_and_starts_at_nothing() {
        let backoff = Backoff::jitter(Duration::from_millis(50), secs(30));
        let bounds: Vec<u128> = [0, 1, 2, 3, 11, 40, 4_000_000_000]
            .map(|n| backoff_bound(&backoff, n).as_millis())
            .into();
        assert_eq!(bounds, [0, 50, 100, 200, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn backoff_repeats_from_its_seed() {
        let backoff = Backoff::default();
        let draw = || {
            let mut random = fastrand::Rng::with_seed(7);
            (0..10)
                .map(|n| backoff_delay(&backoff, n, &mut random))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
    }
}
