//! A fault on purpose: the next message of one actor takes longer than it should.
//!
//! For those who test what watches actors. An actor that stalls keeps its mailbox, answers nobody, is not ended by a
//! stop before its message is over, and is ended by a kill at once. Costs one look at a number for each message as long
//! as nobody asks for a stall.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use ractor::{ActorCell, ActorId};

/// Stalls that have not begun yet.
const WAITING_MAX: usize = 64;

static WAITING: AtomicUsize = AtomicUsize::new(0);
static STALLS: LazyLock<Mutex<HashMap<ActorId, Duration>>> = LazyLock::new(Mutex::default);

/// Makes the next message of an actor that a supervisor of this crate started take longer by this time. A second call
/// before that message replaces the first.
///
/// False when 64 other actors are waiting for theirs: then nothing was done.
pub fn stall(cell: &ActorCell, by: Duration) -> bool {
    let mut stalls = STALLS.lock().unwrap_or_else(PoisonError::into_inner);
    if stalls.len() >= WAITING_MAX && !stalls.contains_key(&cell.get_id()) {
        return false;
    }
    stalls.insert(cell.get_id(), by);
    WAITING.store(stalls.len(), Ordering::Release);
    true
}

/// Waits as somebody asked for.
pub(crate) async fn pass(id: ActorId) {
    if WAITING.load(Ordering::Acquire) == 0 {
        return;
    }
    let by = {
        let mut stalls = STALLS.lock().unwrap_or_else(PoisonError::into_inner);
        let by = stalls.remove(&id);
        WAITING.store(stalls.len(), Ordering::Release);
        by
    };
    if let Some(by) = by {
        tokio::time::sleep(by).await;
    }
}
