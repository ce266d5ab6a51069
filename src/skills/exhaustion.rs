//! What a call does when the machine has run out of something that it gives back: descriptors, processes, memory, room.
//!
//! Such a call has not failed, it came at a bad moment: it waits and is made again within its own time, as long as
//! making it again can do nothing twice. What is still missing then is told like any other failure.

use std::error::Error;
use std::future::Future;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use crate::domain::effect::{EffectClass, Interrupted};
use crate::storage::error::is_full;

use super::skill::{CallEnd, SkillError};

/// The first pause; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Whether the machine had too little of something for a moment: the cause, or a cause of the cause, says so.
pub(super) fn is_exhausted(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return is_want(error);
        }
        cause = error.source();
    }
    false
}

fn is_want(error: &io::Error) -> bool {
    // The third is of a fork: the limit of processes. Nothing here is non-blocking in a way that a caller would see.
    const WANTS: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM];
    let number = error.raw_os_error();
    is_full(error) || WANTS.iter().any(|want| Some(want.raw_os_error()) == number)
}

/// How long to wait before the call is made again; nothing when it must not be, or when its time does not suffice.
fn pause(error: &SkillError, class: EffectClass, tries: u32, left: Duration) -> Option<Duration> {
    let nothing_twice = error.nothing_happened() || class.when_interrupted() == Interrupted::MakeAgain;
    let pause = PAUSE_FIRST.saturating_mul(1 << tries.min(16)).min(PAUSE_MAX);
    (nothing_twice && is_exhausted(error) && pause < left).then_some(pause)
}

/// Makes a call with the time that is left for it, again and again while the machine lacks something.
///
/// **Cancel**: dropping the future drops the try that is under way.
pub(super) async fn call_patiently<C, F>(class: EffectClass, limit: Duration, call: C) -> Result<CallEnd, SkillError>
where
    C: Fn(Duration) -> F,
    F: Future<Output = Result<CallEnd, SkillError>>,
{
    let until = Instant::now() + limit;
    let mut tries = 0;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let error = match call(left).await {
            Ok(end) => return Ok(end),
            Err(error) => error,
        };
        let left = until.saturating_duration_since(Instant::now());
        let Some(pause) = pause(&error, class, tries, left) else {
            return Err(error);
        };
        tracing::debug!(%error, ?pause, "a call waits for what the machine lacks");
        tries += 1;
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn files(want: Errno) -> SkillError {
        SkillError::Files {
            doing: "write",
            path: "x".into(),
            source: want.into(),
        }
    }

    fn workspace(want: Errno) -> SkillError {
        SkillError::OpenWorkspace {
            path: "x".into(),
            source: want.into(),
        }
    }

    #[test]
    fn a_call_is_made_again_when_the_machine_lacked_something_and_nothing_can_be_done_twice() {
        let check = |error: SkillError, class: EffectClass, expected: bool| {
            let left = Duration::from_secs(1);
            assert_eq!(pause(&error, class, 0, left).is_some(), expected, "{error:?} {class:?}");
        };
        for want in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::NOMEM,
            Errno::AGAIN,
        ] {
            check(files(want), EffectClass::Idempotent, true);
            check(workspace(want), EffectClass::Once, true);
        }
        check(
            SkillError::Prepare(Box::new(files(Errno::MFILE))),
            EffectClass::Once,
            true,
        );
        // The first of two files may be there.
        check(files(Errno::NOSPC), EffectClass::Once, false);
        check(files(Errno::NOSPC), EffectClass::Probe, false);
        check(files(Errno::IO), EffectClass::Idempotent, false);
        check(SkillError::TimedOut { limit_ms: 1 }, EffectClass::Read, false);
    }

    #[tokio::test]
    async fn a_call_waits_within_its_time_and_then_tells_what_was_missing() {
        let check = async |lacking: u32, limit: Duration| {
            let calls = Cell::new(0_u32);
            let end = call_patiently(EffectClass::Once, limit, |left| {
                assert!(left <= limit, "it has the time that is left: {left:?}");
                std::future::ready(if calls.replace(calls.get() + 1) < lacking {
                    Err(workspace(Errno::MFILE))
                } else {
                    Ok(CallEnd::ok("done"))
                })
            });
            (end.await.map_err(|error| error.to_string()), calls.get())
        };
        let ample = Duration::from_secs(60);
        assert_eq!(check(0, ample).await, (Ok(CallEnd::ok("done")), 1));
        assert_eq!(check(2, ample).await, (Ok(CallEnd::ok("done")), 3));
        let (end, calls) = check(u32::MAX, PAUSE_FIRST + Duration::from_millis(1)).await;
        assert_eq!(end, Err("failed to open workspace x".to_owned()));
        assert!(calls >= 1, "{calls} calls");
    }
}
