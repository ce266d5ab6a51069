//! Whether there is room enough.
//!
//! **Invariant**: between "too little" and "enough again" lies a quarter of the limit, so that a disk at the limit does
//! not stop and start the work with each file.

/// What the disk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disk {
    /// Bytes that this user may still write.
    pub free: u64,
    /// Size of the file system in bytes.
    pub total: u64,
}

/// What the room means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Whether new work is refused.
    pub is_low: bool,
    /// Whether the reserve is to be made again.
    pub refills: bool,
}

/// Judges by the limit, by how it was judged before, and by whether the reserve has been given up.
pub fn judge(disk: Disk, free_min: u64, was_low: bool, reserve: Option<u64>) -> Verdict {
    let missing = reserve.unwrap_or(0);
    let wanted = if was_low { free_min + free_min / 4 } else { free_min };
    // Making the reserve again must not be what makes the room too little.
    let refills = reserve.is_some() && disk.free >= wanted.saturating_add(missing);
    Verdict {
        is_low: disk.free < wanted || (reserve.is_some() && !refills),
        refills,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_work_stops_below_the_limit_and_goes_on_a_quarter_above_it() {
        let check = |free: u64, was_low: bool, reserve: Option<u64>, low: bool, refills: bool| {
            let disk = Disk { free, total: 1_000 };
            let verdict = judge(disk, 100, was_low, reserve);
            let wanted = Verdict { is_low: low, refills };
            assert_eq!(verdict, wanted, "{free} free, was low: {was_low}, reserve: {reserve:?}");
        };
        check(100, false, None, false, false);
        check(99, false, None, true, false);
        check(110, true, None, true, false);
        check(125, true, None, false, false);
        // The reserve is gone: it comes first.
        check(140, false, Some(50), true, false);
        check(150, false, Some(50), false, true);
        check(150, true, Some(50), true, false);
        check(175, true, Some(50), false, true);
    }
}
