//! What everybody else holds of the room on the disk.

use tokio::sync::watch;

use super::decision::Disk;

/// What is known of the disk of the state folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoomState {
    /// What the file system said last.
    pub disk: Disk,
    /// Whether new work is refused.
    pub is_low: bool,
}

/// A cheap clone. Without a watcher there is always room.
#[derive(Debug, Clone)]
pub struct Room {
    state: watch::Receiver<RoomState>,
}

/// Says how much room there is.
#[derive(Debug, Clone)]
pub struct RoomTeller(watch::Sender<RoomState>);

/// A teller and who listens to it.
pub fn room() -> (RoomTeller, Room) {
    let (teller, state) = watch::channel(RoomState::default());
    (RoomTeller(teller), Room { state })
}

impl Default for Room {
    fn default() -> Self {
        room().1
    }
}

impl Room {
    /// Whether new work is refused because the disk is full.
    pub fn is_low(&self) -> bool {
        self.state.borrow().is_low
    }

    /// What is known.
    pub fn state(&self) -> RoomState {
        *self.state.borrow()
    }

    /// Waits until it is another verdict than `known`, and says which. Waits for ever when nobody watches.
    pub async fn other_than(&mut self, known: bool) -> bool {
        let changed = self.state.wait_for(|state| state.is_low != known).await;
        let changed = changed.map(|state| state.is_low).ok();
        match changed {
            Some(is_low) => is_low,
            None => std::future::pending().await,
        }
    }
}

impl RoomTeller {
    /// Says how it is now; listeners wake when the verdict or the figures changed.
    pub fn tell(&self, state: RoomState) {
        self.0.send_if_modified(|known| {
            let is_other = *known != state;
            *known = state;
            is_other
        });
    }

    /// What was said last.
    pub fn told(&self) -> RoomState {
        *self.0.borrow()
    }
}
