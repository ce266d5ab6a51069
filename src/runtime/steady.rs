//! The wall clock without its jumps, as a function of two clocks: the wall's, which can be set, and the time since the
//! machine was switched on, which cannot.

/// Differences up to this are how a clock is kept right: they are followed at once.
const SLEW_MS: u64 = 1_000;
/// A clock that has been this long away from where it should be was set on purpose: it is followed.
const FOLLOW_AFTER_MS: u64 = 60_000;

/// Where the clocks stood when they last agreed. Times in milliseconds.
#[derive(Debug)]
pub struct Steady {
    wall: u64,
    boot: u64,
    /// When, by the time since the start of the machine, the wall clock was first seen elsewhere.
    away_since: Option<u64>,
}

impl Steady {
    /// Both clocks as they stand now.
    pub fn new(wall: u64, boot: u64) -> Self {
        Self {
            wall,
            boot,
            away_since: None,
        }
    }

    /// The time that is told when the clocks stand so.
    pub fn now(&mut self, wall: u64, boot: u64) -> u64 {
        let expected = self.wall.saturating_add(boot.saturating_sub(self.boot));
        if wall.abs_diff(expected) > SLEW_MS {
            let since = *self.away_since.get_or_insert(boot);
            if boot.saturating_sub(since) < FOLLOW_AFTER_MS {
                return expected;
            }
        }
        *self = Self::new(wall, boot);
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_clock_that_is_wrong_for_a_moment_is_not_noticed_and_one_that_was_set_is_followed_after_a_minute() {
        let mut steady = Steady::new(10 * HOUR, 500);
        let mut check = |boot: u64, wall: u64, told: u64| assert_eq!(steady.now(wall, boot), told, "at {boot}");
        check(1_500, 10 * HOUR + 1_000, 10 * HOUR + 1_000);
        // Kept right in small steps, both ways.
        check(2_500, 10 * HOUR + 2_400, 10 * HOUR + 2_400);
        check(3_500, 10 * HOUR + 3_900, 10 * HOUR + 3_900);
        // An hour ahead for three seconds, an hour behind for three more, and right again.
        check(4_500, 11 * HOUR, 10 * HOUR + 4_900);
        check(7_500, 9 * HOUR, 10 * HOUR + 7_900);
        check(10_500, 10 * HOUR + 10_900, 10 * HOUR + 10_900);
        // Set for good.
        check(11_500, 20 * HOUR, 10 * HOUR + 11_900);
        check(71_400, 20 * HOUR + 59_900, 10 * HOUR + 71_800);
        check(71_500, 20 * HOUR + 60_000, 20 * HOUR + 60_000);
        check(72_500, 20 * HOUR + 61_000, 20 * HOUR + 61_000);
    }
}
