//! Keeps the events of responses before they are shown, so that a client may come back for them at any number.
//!
//! Each response that somebody wants as a stream has one scribe, a supervised task: it follows the run, writes events,
//! waits until they are on disk and then lets the streams read them. After a crash the next scribe goes on behind what
//! was kept. Streams read from the store, so a slow one holds nothing in memory but its place.
//!
//! **Limits**: [`SCRIBES_MAX`] at once; while a commit is under way, what arrives is gathered for the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use serde_json::Value;
use supervisors::Tasks;
use tokio::sync::watch;

use crate::domain::code;
use crate::domain::exchange::{Exchange, Shown};
use crate::domain::id::RunId;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::runs::handle::RunsError;

use super::follow::{Follower, Next};
use super::told::Say;
use super::write_responses::Events;

/// Responses that are written down as streams at once.
pub const SCRIBES_MAX: usize = 4096;
/// Things to tell that are kept in one commit.
const BATCH_MAX: usize = 256;
/// Events that are read from the store at once.
const READ_MAX: usize = 256;

/// How far a response is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// The number of the next event.
    pub next: u64,
    /// Whether the last one was written.
    pub is_end: bool,
}

/// The scribes. Cheap to clone.
#[derive(Clone)]
pub struct Scribes {
    tasks: Tasks,
    open: Arc<Mutex<HashMap<RunId, watch::Receiver<Level>>>>,
}

/// Forgets a scribe that has ended.
struct Forget {
    scribes: Scribes,
    run: RunId,
}

impl Drop for Forget {
    fn drop(&mut self) {
        let mut open = self.scribes.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.run);
    }
}

impl Scribes {
    /// Scribes that run there.
    pub fn new(tasks: Tasks) -> Self {
        Self {
            tasks,
            open: Arc::default(),
        }
    }

    /// How far the response is written down, and on: begins to write where nobody does. `make` follows the run from
    /// its beginning.
    ///
    /// **Errors**: too many are being written.
    pub fn level(
        &self,
        parts: &GatewayParts,
        run: RunId,
        exchange: &Arc<Exchange>,
        make: impl FnOnce() -> Follower,
    ) -> Result<watch::Receiver<Level>, ApiError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // One whose scribe has gone without taking itself out is replaced.
        if let Some(level) = open.get(&run).filter(|level| level.has_changed().is_ok()) {
            return Ok(level.clone());
        }
        let (told, level) = watch::channel(Level::default());
        let (parts, exchange, follower) = (parts.clone(), exchange.clone(), make());
        let scribes = self.clone();
        let writing = async move {
            // Made here, because it takes the lock when it goes: a task that is refused is dropped under it.
            let _forget = Forget { scribes, run };
            if let Err(error) = write(&parts, run, &exchange, follower, &told).await {
                tracing::error!(%run, %error, "the events of a response cannot be kept");
            }
        };
        let spawned = self.tasks.spawn("scribe", writing, |_| {});
        if spawned.is_err() {
            let message = format!("{SCRIBES_MAX} responses are being streamed");
            return Err(ApiError::new(code::TOO_MANY_STREAMS, message).hint("ask again without `stream`"));
        }
        open.insert(run, level.clone());
        Ok(level)
    }
}

/// Takes up what was kept, and goes on.
async fn write(
    parts: &GatewayParts,
    run: RunId,
    exchange: &Exchange,
    mut follower: Follower,
    told: &watch::Sender<Level>,
) -> Result<(), RunsError> {
    let mut events = Events::new(run);
    let mut through = 0;
    loop {
        let next = events.next_number();
        let kept = parts.runs.shown(run, next, READ_MAX)?;
        let mut is_more = false;
        for (first, shown) in kept {
            for (number, event) in (first..).zip(&shown.events) {
                if number == events.next_number() {
                    events.fold(&serde_json::from_str::<Value>(event).unwrap_or_default());
                    is_more = true;
                }
            }
            through = shown.through;
            if shown.is_end {
                let next = events.next_number();
                told.send_replace(Level { next, is_end: true });
                return Ok(());
            }
        }
        if !is_more {
            break;
        }
    }
    let mut written = Vec::new();
    if events.next_number() == 0 {
        events.begin(exchange, &mut written);
        keep(parts, run, &mut events, (0, 0, false), written, told).await?;
    } else {
        follower.resume(through, events.open_text().to_owned())?;
        let next = events.next_number();
        told.send_replace(Level { next, is_end: false });
    }
    loop {
        let mut says = Vec::new();
        // The first is waited for; then what is there is taken along.
        let mut next = follower.next().await?;
        let is_over = loop {
            match next {
                None => return Ok(()),
                Some(Next::Stopping) => break true,
                Some(Next::Say(say)) => says.push(say),
            }
            // All that one fact tells is kept together, so that its place in the journal is right.
            says.extend(std::iter::from_fn(|| follower.ready()));
            if says.len() >= BATCH_MAX || matches!(says.last(), Some(Say::End(_))) {
                break false;
            }
            match follower.next().now_or_never() {
                Some(more) => next = more?,
                None => break false,
            }
        };
        let first = events.next_number();
        let mut written = Vec::new();
        for say in joined(says) {
            events.say(&say, exchange, parts.clock.now().0 / 1000, &mut written);
        }
        let is_end = follower.has_ended();
        if !written.is_empty() {
            keep(parts, run, &mut events, (first, follower.seen(), is_end), written, told).await?;
        }
        if is_over || is_end {
            return Ok(());
        }
    }
}

/// Pieces of one text that came together are one event.
fn joined(says: Vec<Say>) -> Vec<Say> {
    let mut out: Vec<Say> = Vec::with_capacity(says.len());
    for say in says {
        match (out.last_mut(), say) {
            (Some(Say::Text(before)), Say::Text(more)) => *before = format!("{before}{more}").into(),
            (_, say) => out.push(say),
        }
    }
    out
}

async fn keep(
    parts: &GatewayParts,
    run: RunId,
    events: &mut Events,
    (first, through, is_end): (u64, u64, bool),
    written: Vec<String>,
    told: &watch::Sender<Level>,
) -> Result<(), RunsError> {
    let shown = Shown {
        through,
        is_end,
        events: written,
    };
    parts.runs.keep_shown(run, first, shown).await?;
    let next = events.next_number();
    told.send_replace(Level { next, is_end });
    Ok(())
}
