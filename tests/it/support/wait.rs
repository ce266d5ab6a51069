//! Waiting for a level with a bound.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Pause between two looks: short against everything that is waited for, long enough to leave the machine to it.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks until something is there; after the bound, fails with the last that was seen.
pub fn until<T, S: Debug>(what: &str, within: Duration, look: impl FnMut() -> Result<T, S>) -> T {
    until_each(PAUSE, what, within, look)
}

/// The same with a pause of one's own, for looks that start programs: they would take the processor from what is
/// waited for.
pub fn until_each<T, S: Debug>(
    pause: Duration,
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<T, S>,
) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if began.elapsed() > within => panic!("{what}: not within {within:?}; last seen: {seen:?}"),
            Err(_) => std::thread::sleep(pause),
        }
    }
}

/// The same for looks that have to be awaited.
pub async fn until_async<T, S: Debug>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T, S>) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if began.elapsed() > within => panic!("{what}: not within {within:?}; last seen: {seen:?}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
