//! Follows a run for a client of a vendor's protocol: facts as they are committed, and pieces before them.
//!
//! A client that is slow holds nothing back: facts are read when it has taken those before, and pieces come from a ring
//! that is overwritten.

use std::collections::VecDeque;

use crate::domain::fact::{Fact, Stamped};
use crate::domain::id::RunId;
use crate::gateway::parts::GatewayParts;
use crate::runs::handle::RunsError;
use crate::runtime::bus::Watch;
use crate::runtime::live::{Heard, LiveReader};

use super::told::{Say, Teller, Told};

/// Facts that are held for one client; the next are read when it has taken these.
const FACTS_AT_ONCE: usize = 64;

/// Follows one run.
pub struct Follower {
    parts: GatewayParts,
    run: RunId,
    watch: Watch,
    /// None for whoever wants facts alone.
    live: Option<LiveReader>,
    teller: Teller,
    seen: u64,
    facts: std::vec::IntoIter<Stamped>,
    is_read: bool,
    says: VecDeque<Say>,
}

/// Waits for the next piece; for ever where nobody listens.
async fn heard(live: &mut Option<LiveReader>) -> Heard {
    match live {
        Some(live) => live.next().await,
        None => std::future::pending().await,
    }
}

/// What following gave.
#[derive(Debug)]
pub enum Next {
    /// Something to tell.
    Say(Say),
    /// The daemon stops; the run goes on in its next life.
    Stopping,
}

impl Follower {
    /// From the beginning. `live` was opened before the run could begin, or misses pieces; without it there are none.
    pub fn new(parts: GatewayParts, run: RunId, live: Option<LiveReader>, has_schema: bool) -> Self {
        Self {
            watch: parts.runs.watch(run),
            parts,
            run,
            live,
            teller: Teller::new(has_schema),
            seen: 0,
            facts: Vec::new().into_iter(),
            is_read: false,
            says: VecDeque::new(),
        }
    }

    /// From where an earlier follower was: what it told of the facts up to `seen` is not told again, and `open` is what
    /// it told of a text that was not complete.
    pub fn resume(&mut self, seen: u64, open: String) -> Result<(), RunsError> {
        let mut told = Vec::new();
        for stamped in self.parts.runs.facts(self.run, 0)? {
            if stamped.seq > seen {
                break;
            }
            self.teller.fact(&stamped.fact, &mut told);
        }
        self.teller.resume(open);
        self.seen = seen;
        Ok(())
    }

    /// The place of the last fact that was told of, once nothing more of it is to be told.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether the end was taken in.
    pub fn has_ended(&self) -> bool {
        self.teller.has_ended()
    }

    /// What was told so far, with what was counted.
    pub fn so_far(&self, told: Told) -> Told {
        told.by(&self.teller)
    }

    /// Takes what is there to be told without waiting.
    pub fn ready(&mut self) -> Option<Say> {
        self.says.pop_front()
    }

    /// Whether the run was reopened right behind what was taken in.
    fn is_reopened(&mut self) -> Result<bool, RunsError> {
        if self.facts.as_slice().is_empty() {
            let facts = self.parts.runs.facts_page(self.run, self.seen, FACTS_AT_ONCE)?;
            self.facts = facts.into_iter();
        }
        let next = self.facts.as_slice().first();
        Ok(next.is_some_and(|stamped| matches!(stamped.fact, Fact::RunReopened { .. })))
    }

    /// Waits for what is to be told next; none after the end. The end of a run that was reopened is
    /// none.
    ///
    /// **Cancel**: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Next>, RunsError> {
        loop {
            if let Some(say) = self.says.pop_front() {
                return Ok(Some(Next::Say(say)));
            }
            if self.teller.has_ended() && self.facts.as_slice().is_empty() {
                return Ok(None);
            }
            let mut says = Vec::new();
            if let Some(stamped) = self.facts.next() {
                self.seen = stamped.seq;
                self.teller.fact(&stamped.fact, &mut says);
                if self.teller.has_ended() && self.is_reopened()? {
                    says.retain(|say| !matches!(say, Say::End(_)));
                }
            } else if self.is_read {
                let mut stop = self.parts.stop.subscribe();
                tokio::select! {
                    // A piece comes before the fact that it belongs to.
                    biased;
                    heard = heard(&mut self.live) => match heard {
                        Heard::Piece(piece) => self.teller.piece(&piece, &mut says),
                        Heard::Lagged(_) => self.teller.lagged(),
                    },
                    () = self.watch.past(self.seen) => self.is_read = false,
                    _ = stop.wait_for(|stop| *stop) => return Ok(Some(Next::Stopping)),
                }
            } else {
                let facts = self.parts.runs.facts_page(self.run, self.seen, FACTS_AT_ONCE)?;
                self.is_read = facts.is_empty();
                self.facts = facts.into_iter();
            }
            self.says.extend(says);
        }
    }
}
