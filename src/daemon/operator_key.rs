//! The operator's key: made once per home, its hash in the store, its text in a file that only the owner reads.

use crate::domain::code::{self, Code};
use crate::identity::keyring::{KeyError, Keyring, SCOPE_ALL};
use crate::runtime::bus::Bus;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::entropy::Entropy;
use crate::storage::error::StoreError;
use crate::storage::store::{CACHE_BYTES_DEFAULT, Store};

use super::config::{Home, HomeError, file};

/// Why the key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OperatorKeyError {
    /// The store cannot be opened.
    #[error("open the store")]
    Store(#[source] StoreError),
    /// The key cannot be made.
    #[error("make the key")]
    Key(#[source] KeyError),
    /// The file of the key cannot be read or written.
    #[error("use the file of the key")]
    Home(#[source] HomeError),
}

impl OperatorKeyError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Store(StoreError::Locked { .. }) => code::ALREADY_RUNNING,
            Self::Store(StoreError::Version { .. }) => code::STORE_VERSION,
            Self::Store(_) => code::STORE_FAILED,
            Self::Key(error) => error.code(),
            Self::Home(error) => error.code(),
        }
    }
}

/// Makes the key when there is none; true when it is new. A key whose hash is not in the store, as after a restore,
/// is replaced.
pub fn ensure(home: &Home) -> Result<bool, OperatorKeyError> {
    let known = home.read_operator_key().map_err(OperatorKeyError::Home)?;
    let store = match Store::open(&home.store_file(), CACHE_BYTES_DEFAULT) {
        // A daemon runs on this home: it was started with a key.
        Err(StoreError::Locked { .. }) if known.is_some() => return Ok(false),
        opened => opened.map_err(OperatorKeyError::Store)?,
    };
    let committer = Committer::start(store.clone(), Bus::default()).map_err(OperatorKeyError::Store)?;
    let keyring = Keyring::new(store, committer.clone(), Clock::system(), Entropy::system());
    let work = async move {
        let made = match known.is_some_and(|key| keyring.check(&key).is_ok()) {
            true => Ok(None),
            false => keyring.make("operator", &[SCOPE_ALL]).await.map(Some),
        };
        drop(keyring);
        // The daemon opens the same file next, and would find it taken.
        committer.ended().await;
        made
    };
    // A thread and a runtime of their own: the caller may be within a runtime, where neither blocking nor dropping
    // another one is allowed.
    let made = std::thread::scope(|scope| {
        let make = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let runtime = runtime.expect("a runtime without input and output needs nothing of the system");
            runtime.block_on(work)
        };
        scope.spawn(make).join()
    });
    let Some(key) = made
        .expect("making a key does not panic")
        .map_err(OperatorKeyError::Key)?
    else {
        return Ok(false);
    };
    let path = home.operator_key_file();
    file::replace(&path, format!("{}\n", key.to_text()).as_bytes(), 0o600).map_err(|source| {
        OperatorKeyError::Home(HomeError::File {
            verb: "write",
            path,
            source,
        })
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_free_again_when_the_key_is_made_and_when_it_was_there() {
        for _ in 0..10 {
            let folder = tempfile::tempdir().expect("a folder");
            let home = Home::under(folder.path());
            home.create_state().expect("made");
            for is_new in [true, false] {
                assert_eq!(ensure(&home).expect("a key"), is_new);
                Store::open(&home.store_file(), CACHE_BYTES_DEFAULT).expect("nobody has it open");
            }
        }
    }
}
