//! Making and checking API keys.

use crate::domain::capability::{Capability, CapabilitySet};
use crate::domain::code::{self, Code};
use crate::domain::id::KeyId;
use crate::domain::time::UtcMillis;
use crate::runtime::clock::Clock;
use crate::runtime::committer::{CommitError, Committer};
use crate::runtime::entropy::Entropy;
use crate::storage::batch::{Batch, Op};
use crate::storage::error::StoreError;
use crate::storage::record::key::KeyRecord;
use crate::storage::store::Store;

use super::api_key::{ApiKey, KeyTextError};

/// The scope that allows everything.
pub const SCOPE_ALL: &str = "*";

/// All keys. Reads the store at each check, so a revoked key is refused at once.
#[derive(Debug, Clone)]
pub struct Keyring {
    store: Store,
    committer: Committer,
    clock: Clock,
    entropy: Entropy,
}

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub name: String,
    scopes: Vec<String>,
}

/// Why a key is not good.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no key.
    #[error("read the key")]
    Text(#[source] KeyTextError),
    /// No such key, a wrong secret, or revoked: not told apart, so that nothing is learned by trying.
    #[error("check the key: it is not valid here")]
    NotValid,
    /// The keys cannot be read.
    #[error("read the keys")]
    Store(#[source] StoreError),
    /// The key cannot be written.
    #[error("write the key")]
    Commit(#[source] CommitError),
}

impl KeyError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Text(_) | Self::NotValid => code::KEY_INVALID,
            Self::Store(_) | Self::Commit(_) => code::STORE_FAILED,
        }
    }
}

impl Principal {
    /// Whether the key carries a scope, such as `runs:write`.
    pub fn may(&self, scope: &str) -> bool {
        let group = scope.split(':').next().unwrap_or(scope);
        self.scopes
            .iter()
            .any(|own| own == SCOPE_ALL || own == scope || own.strip_suffix(":*") == Some(group))
    }
}

/// Scopes that begin so bound what the runs of a key may touch: `grant:exec:git`.
pub const GRANT_PREFIX: &str = "grant:";

impl Principal {
    /// What the runs that it submits may touch at most; none when the key does not say. A grant that cannot be read
    /// allows nothing.
    pub fn grant(&self) -> Option<CapabilitySet> {
        let grants = self.scopes.iter().filter_map(|scope| scope.strip_prefix(GRANT_PREFIX));
        let grants: Vec<&str> = grants.collect();
        (!grants.is_empty()).then(|| {
            let read = grants.iter().filter_map(|text| text.parse::<Capability>().ok());
            read.collect()
        })
    }
}

impl Keyring {
    /// The keys of this store.
    pub fn new(store: Store, committer: Committer, clock: Clock, entropy: Entropy) -> Self {
        Self {
            store,
            committer,
            clock,
            entropy,
        }
    }

    /// Makes a key. Its text exists only in what is returned.
    pub async fn make(&self, name: &str, scopes: &[&str]) -> Result<ApiKey, KeyError> {
        let (key, record) = new_key(self.clock.now(), &self.entropy, name, scopes);
        self.committer
            .commit(Batch::ops(vec![Op::KeyPut(record)]))
            .await
            .map_err(KeyError::Commit)?;
        Ok(key)
    }

    /// Whose key this is.
    pub fn check(&self, text: &str) -> Result<Principal, KeyError> {
        check_in(&self.store, text)
    }
}

/// A new key, and the record that makes it one once it is in the store.
pub fn new_key(now: UtcMillis, entropy: &Entropy, name: &str, scopes: &[&str]) -> (ApiKey, KeyRecord) {
    let mut random = [0; 32];
    entropy.fill(&mut random);
    let key = ApiKey::new(KeyId::new(now, entropy.u128()), random);
    let record = KeyRecord {
        id: key.id.to_bytes(),
        secret_hash: key.secret_hash(),
        name: name.to_owned(),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        made_at: now.0,
        revoked_at: None,
    };
    (key, record)
}

/// Whose key this is in a store.
pub fn check_in(store: &Store, text: &str) -> Result<Principal, KeyError> {
    let key = ApiKey::parse(text).map_err(KeyError::Text)?;
    let record = store.key(key.id).map_err(KeyError::Store)?.ok_or(KeyError::NotValid)?;
    // Compared in constant time, as `blake3::Hash` does.
    let same = blake3::Hash::from_bytes(record.secret_hash) == blake3::Hash::from_bytes(key.secret_hash());
    if !same || record.revoked_at.is_some() {
        return Err(KeyError::NotValid);
    }
    Ok(Principal {
        key: key.id,
        name: record.name,
        scopes: record.scopes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::bus::Bus;

    #[tokio::test]
    async fn a_key_opens_its_own_scopes_and_a_wrong_secret_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let committer = Committer::start(store.clone(), Bus::default()).expect("starts");
        let keyring = Keyring::new(store, committer, Clock::system(), Entropy::seeded(1));
        let key = keyring.make("ci", &["runs:read", "memory:*"]).await.expect("made");
        let principal = keyring.check(&key.to_text()).expect("valid");
        let check = |scope: &str, expected: bool| assert_eq!(principal.may(scope), expected, "{scope}");
        check("runs:read", true);
        check("runs:write", false);
        check("memory:put", true);
        check("mem", false);
        assert_eq!(principal.grant(), None, "nothing is said of what its runs may touch");
        let bound = ["runs:*", "grant:exec:git", "grant:fs.write:out", "grant:nonsense"];
        let bound = keyring.make("bound", &bound).await.expect("made");
        let grant = keyring.check(&bound.to_text()).expect("valid").grant();
        let shown: Vec<String> = grant.expect("bound").iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["fs.write:out", "exec:git"]);
        let nothing = keyring.make("none", &["grant:nonsense"]).await.expect("made");
        let nothing = keyring.check(&nothing.to_text()).expect("valid").grant();
        assert_eq!(
            nothing,
            Some(CapabilitySet::default()),
            "what cannot be read allows nothing"
        );
        let forged = ApiKey::new(key.id, [9; 32]).to_text();
        assert!(matches!(keyring.check(&forged), Err(KeyError::NotValid)));
        let unknown = ApiKey::new(KeyId::new(crate::domain::time::UtcMillis(1), 1), [9; 32]).to_text();
        assert!(matches!(keyring.check(&unknown), Err(KeyError::NotValid)));
    }
}
