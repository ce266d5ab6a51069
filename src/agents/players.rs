//! The cassettes that are being played, one player for all sessions of a run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::domain::id::RunId;
use crate::llm::cassette::format::CassetteError;
use crate::llm::cassette::player::Player;
use crate::runtime::committer::{CommitError, Committer};
use crate::storage::error::StoreError;
use crate::storage::store::Store;

/// Why a run's tape cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// What was submitted before is not on disk.
    #[error("wait for the journal before a cassette is played")]
    Commit(#[source] CommitError),
    /// The read failed.
    #[error("read the tape of a run")]
    Store(#[source] StoreError),
    /// The cassette was accepted by a program that reads it otherwise.
    #[error("read the cassette of a run")]
    Cassette(#[source] CassetteError),
}

/// What a run does with its model traffic.
#[derive(Debug, Clone)]
pub struct OpenTape {
    /// Answers instead of the models.
    pub player: Option<Arc<Player>>,
}

/// Finds the player of a run. Cheap to clone; a player lives as long as a session of its run uses it.
#[derive(Debug, Clone, Default)]
pub struct Players {
    open: Arc<Mutex<BTreeMap<RunId, Weak<Player>>>>,
}

impl Players {
    /// The tape of a run; none when it keeps nothing.
    pub async fn open(&self, run: RunId, store: &Store, committer: &Committer) -> Result<Option<OpenTape>, TapeError> {
        let Some(tape) = store.tape(run).map_err(TapeError::Store)? else {
            return Ok(None);
        };
        let Some(cassette) = tape.replay else {
            return Ok(Some(OpenTape { player: None }));
        };
        if let Some(player) = self.find(run) {
            return Ok(Some(OpenTape { player: Some(player) }));
        }
        // Answers that an earlier session took must be counted.
        committer.barrier().await.map_err(TapeError::Commit)?;
        let answered = store.traffic(run).map_err(TapeError::Store)?;
        let player = Player::new(&cassette, &answered).map_err(TapeError::Cassette)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, player| player.strong_count() > 0);
        // Another session may have been faster; there is one player for a run.
        let player = open.get(&run).and_then(Weak::upgrade).unwrap_or_else(|| {
            let player = Arc::new(player);
            open.insert(run, Arc::downgrade(&player));
            player
        });
        Ok(Some(OpenTape { player: Some(player) }))
    }

    fn find(&self, run: RunId) -> Option<Arc<Player>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&run).and_then(Weak::upgrade)
    }
}
