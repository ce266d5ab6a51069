//! The operator's key: made once per home, its hash in the store, its text in a file that only the owner reads.

use crate::domain::code::{self, Code};
use crate::identity::audit::{AuditError, commit_alone, note};
use crate::identity::authority::files::{AuthorityFiles, FilesError};
use crate::identity::authority::handle::{CREATED, FIRST};
use crate::identity::keyring::{SCOPE_ALL, check_in, new_key};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::storage::batch::Op;
use crate::storage::error::StoreError;
use crate::storage::migration::error::MigrationError;
use crate::storage::store::{CACHE_BYTES_DEFAULT, Store};

use super::config::{Home, HomeError, file};
use super::store_layout::bring_up;

/// How the audit log names whoever can write the folders of the home.
pub const THIS_MACHINE: &str = "the owner of the home";

/// Why the key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OperatorKeyError {
    /// The store cannot be opened.
    #[error("open the store")]
    Store(#[source] StoreError),
    /// The store is of an earlier program and cannot be migrated.
    #[error("bring the store to the layout of this program")]
    Migration(#[source] MigrationError),
    /// The key cannot be written with its row in the audit log.
    #[error("write it down")]
    Audit(#[source] AuditError),
    /// The folder of the authority cannot be used.
    #[error("make the authority")]
    Authority(#[source] FilesError),
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
            Self::Migration(error) => error.code(),
            Self::Store(_) => code::STORE_FAILED,
            Self::Audit(error) => error.code(),
            Self::Authority(_) => code::AUTHORITY_FILES,
            Self::Home(error) => error.code(),
        }
    }
}

/// Makes the key when there is none; true when it is new. A key whose hash is not in the store, as after a restore,
/// is replaced.
pub fn ensure(home: &Home) -> Result<bool, OperatorKeyError> {
    let known = home.read_operator_key().map_err(OperatorKeyError::Home)?;
    bring_up(home).map_err(OperatorKeyError::Migration)?;
    let store = match Store::open(&home.store_file(), CACHE_BYTES_DEFAULT) {
        // A daemon runs on this home: it was started with a key.
        Err(StoreError::Locked { .. }) if known.is_some() => return Ok(false),
        opened => opened.map_err(OperatorKeyError::Store)?,
    };
    let now = Clock::system().now();
    if known.is_some_and(|key| check_in(&store, &key, now).is_ok()) {
        return Ok(false);
    }
    // Written here and not by a committer: its thread would hold the store for a moment longer than this call, and
    // the daemon that opens it next would find it locked.
    let entropy = Entropy::system();
    let (key, record) = new_key(now, &entropy, "operator", &[SCOPE_ALL]);
    let told = note(now, THIS_MACHINE, "key.created", &key.id.to_string(), "operator: *");
    let ops = vec![Op::KeyPut(record), Op::AuditAppend(told)];
    commit_alone(store, home.state_dir(), &entropy, ops, now).map_err(OperatorKeyError::Audit)?;
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

/// Makes the internal authority when there is none; true when it is new. A start makes it too, and the operator's
/// certificate.
pub fn ensure_authority(home: &Home) -> Result<bool, OperatorKeyError> {
    home.create_state().map_err(OperatorKeyError::Home)?;
    bring_up(home).map_err(OperatorKeyError::Migration)?;
    let store = match Store::open(&home.store_file(), CACHE_BYTES_DEFAULT) {
        // A daemon runs on this home: it was started with an authority.
        Err(StoreError::Locked { .. }) => return Ok(false),
        opened => opened.map_err(OperatorKeyError::Store)?,
    };
    let now = Clock::system().now();
    let files = AuthorityFiles::new(home.tls_dir());
    let (_, is_new) = files.ensure(now).map_err(OperatorKeyError::Authority)?;
    if is_new {
        let told = note(now, THIS_MACHINE, CREATED, FIRST, "");
        let ops = vec![Op::AuditAppend(told)];
        commit_alone(store, home.state_dir(), &Entropy::system(), ops, now).map_err(OperatorKeyError::Audit)?;
    }
    Ok(is_new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_free_as_soon_as_the_key_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::under(folder.path());
        home.create().expect("made");
        home.create_state().expect("made");
        for round in 0..20 {
            assert_eq!(ensure(&home).expect("a key"), round == 0);
            Store::open(&home.store_file(), CACHE_BYTES_DEFAULT).expect("nobody holds the store");
        }
        let key = home.read_operator_key().expect("readable").expect("there");
        let store = Store::open(&home.store_file(), CACHE_BYTES_DEFAULT).expect("opens");
        assert!(check_in(&store, &key, Clock::system().now()).is_ok_and(|operator| operator.may("runs:write")));
    }
}
