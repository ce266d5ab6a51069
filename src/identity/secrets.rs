//! The secret store: values sealed with AES-256-GCM, the name bound into the seal, the key outside of the store.
//!
//! **Shape**: the key comes from the first of these that is there: a systemd credential `openclaw-secret-key`
//! (`$CREDENTIALS_DIRECTORY`), a passphrase (`OPENCLAW_PASSPHRASE`, stretched by Argon2id with a salt of this home), a
//! file `secret.key` that only its owner reads and that is made when it is first needed.
//! **Invariant**: a value leaves this module only to the part that was configured to have it; nothing prints it.
//! **Limits**: [`SECRET_BYTES_MAX`] of one value, [`SECRETS_MAX`] values.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use tokio::sync::Mutex;

use crate::domain::code::{self, Code};
use crate::domain::time::UtcMillis;
use crate::runtime::clock::Clock;
use crate::runtime::committer::CommitError;
use crate::runtime::entropy::Entropy;
use crate::runtime::file;
use crate::storage::batch::Op;
use crate::storage::error::StoreError;
use crate::storage::record::secret::SecretRecord;
use crate::storage::store::Store;

use super::audit::AuditLog;
use super::checkpoint::{hex, unhex};

/// Bytes of one value.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// Values of one store.
pub const SECRETS_MAX: usize = 1_000;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of a credential that are a key.
const CREDENTIAL_BYTES_MIN: usize = 16;
/// The name of the systemd credential.
const CREDENTIAL: &str = "openclaw-secret-key";
/// Bytes of a passphrase.
const PASSPHRASE_BYTES_MIN: usize = 12;

/// Why a secret cannot be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum SecretStoreError {
    /// The name cannot be used.
    #[error("use the name: a secret's name has 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`")]
    Name,
    /// The value is empty or too long.
    #[error("keep the secret: a value has 1 to {SECRET_BYTES_MAX} bytes")]
    Value,
    /// There are too many.
    #[error("keep the secret: there are {SECRETS_MAX}")]
    TooMany,
    /// There is none of this name.
    #[error("find the secret `{0}`")]
    NotFound(String),
    /// A file of the key cannot be read or written.
    #[error("use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The passphrase or credential is too weak to be one, or its file holds no key.
    #[error("use the key of the secrets: {0}")]
    Key(&'static str),
    /// It was sealed with another key, or was changed.
    #[error("open the secret `{0}`: it was sealed with another key, or was changed")]
    Sealed(String),
    /// The store cannot be read.
    #[error("read the secrets")]
    Store(#[source] StoreError),
    /// The change cannot be written.
    #[error("write the secret")]
    Commit(#[source] CommitError),
}

impl SecretStoreError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Name | Self::Value | Self::TooMany => code::SECRET_TERMS,
            Self::NotFound(_) => code::SECRET_NOT_FOUND,
            Self::File { .. } | Self::Key(_) | Self::Sealed(_) => code::SECRET_SEALED,
            Self::Store(_) | Self::Commit(_) => code::STORE_FAILED,
        }
    }
}

/// The key that seals. Prints nothing of itself.
struct SealingKey {
    id: [u8; 8],
    key: LessSafeKey,
}

impl SealingKey {
    fn of(bytes: [u8; 32]) -> Self {
        let hash = blake3::derive_key("openclaw secret store key id 1", &bytes);
        let unbound = UnboundKey::new(&AES_256_GCM, &bytes).expect("the algorithm takes 32 bytes");
        Self {
            id: hash[..8].try_into().expect("a hash has more than eight bytes"),
            key: LessSafeKey::new(unbound),
        }
    }
}

fn bound_to(name: &str) -> Aad<Vec<u8>> {
    Aad::from([b"openclaw secret 1\0", name.as_bytes()].concat())
}

/// Where the key comes from.
#[derive(Clone, Default)]
pub struct KeySources {
    /// `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// `OPENCLAW_PASSPHRASE`.
    pub passphrase: Option<String>,
}

impl std::fmt::Debug for KeySources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySources")
            .field("credentials", &self.credentials)
            .field("has_passphrase", &self.passphrase.is_some())
            .finish()
    }
}

impl KeySources {
    /// What the environment of this process says.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            credentials: variable("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            passphrase: variable("OPENCLAW_PASSPHRASE").filter(|passphrase| !passphrase.is_empty()),
        }
    }
}

/// A file of random bytes that is made when it is not there.
fn random_file<const N: usize>(path: &Path, entropy: &Entropy) -> Result<[u8; N], SecretStoreError> {
    let failed = |source| SecretStoreError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(text) = file::read_private(path).map_err(failed)? {
        return unhex(text.trim()).ok_or(SecretStoreError::Key("its file does not hold what this program writes"));
    }
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    file::replace(path, format!("{}\n", hex(&bytes)).as_bytes(), 0o600).map_err(failed)?;
    Ok(bytes)
}

/// What the key is made of.
enum Source<'of> {
    Credential(Vec<u8>),
    Passphrase(&'of str),
    OwnFile,
}

/// The first source that is there.
///
/// **Errors**: it is too weak to be one, or cannot be read; another one is not taken for it.
fn source(sources: &KeySources) -> Result<Source<'_>, SecretStoreError> {
    if let Some(path) = sources.credentials.as_ref().map(|folder| folder.join(CREDENTIAL)) {
        match std::fs::read(&path) {
            Ok(bytes) if bytes.len() < CREDENTIAL_BYTES_MIN => {
                return Err(SecretStoreError::Key("the systemd credential has fewer than 16 bytes"));
            }
            Ok(bytes) => return Ok(Source::Credential(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(SecretStoreError::File { path, source }),
        }
    }
    match &sources.passphrase {
        Some(passphrase) if passphrase.len() < PASSPHRASE_BYTES_MIN => {
            Err(SecretStoreError::Key("the passphrase has fewer than 12 bytes"))
        }
        Some(passphrase) => Ok(Source::Passphrase(passphrase)),
        None => Ok(Source::OwnFile),
    }
}

fn find_key(folder: &Path, sources: &KeySources, entropy: &Entropy) -> Result<SealingKey, SecretStoreError> {
    let bytes = match source(sources)? {
        Source::Credential(bytes) => blake3::derive_key("openclaw secret store credential 1", &bytes),
        Source::Passphrase(passphrase) => stretched(passphrase, folder, entropy)?,
        Source::OwnFile => random_file(&folder.join("secret.key"), entropy)?,
    };
    Ok(SealingKey::of(bytes))
}

/// The key that a passphrase stands for in this home.
fn stretched(passphrase: &str, folder: &Path, entropy: &Entropy) -> Result<[u8; 32], SecretStoreError> {
    let salt: [u8; 16] = random_file(&folder.join("secret.salt"), entropy)?;
    let mut bytes = [0; 32];
    let stretched = argon2::Argon2::default().hash_password_into(passphrase.as_bytes(), &salt, &mut bytes);
    stretched.map_err(|_| SecretStoreError::Key("the passphrase cannot be stretched"))?;
    Ok(bytes)
}

/// The secrets of a home. Cheap to clone.
#[derive(Clone)]
pub struct SecretStore(Arc<Inside>);

struct Inside {
    store: Store,
    audit: AuditLog,
    clock: Clock,
    entropy: Entropy,
    folder: PathBuf,
    sources: KeySources,
    /// Found when it is first needed: a home without secrets needs no key.
    key: Mutex<Option<Arc<SealingKey>>>,
}

/// Whether a text names a secret.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl SecretStore {
    /// The secrets of a store, whose key is looked for in `folder` and `sources`. A key that somebody chose is looked at
    /// now; one that is made from what was found, when it is first needed.
    ///
    /// **Errors**: the passphrase or the credential is too weak to be a key, or cannot be read.
    pub fn new(
        store: Store,
        audit: AuditLog,
        clock: Clock,
        entropy: Entropy,
        folder: &Path,
        sources: KeySources,
    ) -> Result<Self, SecretStoreError> {
        source(&sources)?;
        Ok(Self(Arc::new(Inside {
            store,
            audit,
            clock,
            entropy,
            folder: folder.to_owned(),
            sources,
            key: Mutex::new(None),
        })))
    }

    async fn key(&self) -> Result<Arc<SealingKey>, SecretStoreError> {
        let mut slot = self.0.key.lock().await;
        if let Some(key) = &*slot {
            return Ok(key.clone());
        }
        let inside = self.0.clone();
        // Stretching a passphrase takes a while on purpose.
        let found =
            tokio::task::spawn_blocking(move || find_key(&inside.folder, &inside.sources, &inside.entropy)).await;
        let key = Arc::new(found.map_err(|_| SecretStoreError::Key("the search for it crashed"))??);
        *slot = Some(key.clone());
        Ok(key)
    }

    /// Keeps a value under a name; an older one is replaced.
    pub async fn set(&self, by: &str, name: &str, value: &[u8]) -> Result<(), SecretStoreError> {
        if !is_name(name) {
            return Err(SecretStoreError::Name);
        }
        if value.is_empty() || value.len() > SECRET_BYTES_MAX {
            return Err(SecretStoreError::Value);
        }
        let known = self.0.store.secrets().map_err(SecretStoreError::Store)?;
        if known.len() >= SECRETS_MAX && !known.contains_key(name) {
            return Err(SecretStoreError::TooMany);
        }
        let key = self.key().await?;
        let mut nonce = [0; NONCE_LEN];
        self.0.entropy.fill(&mut nonce);
        let mut sealed = value.to_vec();
        key.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound_to(name), &mut sealed)
            .map_err(|_| SecretStoreError::Value)?;
        let record = SecretRecord {
            key_id: key.id,
            sealed: [nonce.as_slice(), &sealed].concat(),
            set_at: self.0.clock.now().0,
        };
        let note = self.0.audit.note(by, "secret.set", name, "");
        let committed = self
            .0
            .audit
            .commit(vec![Op::SecretPut(name.to_owned(), record)], note)
            .await;
        committed.map_err(SecretStoreError::Commit)
    }

    /// Removes a value.
    pub async fn remove(&self, by: &str, name: &str) -> Result<(), SecretStoreError> {
        let known = self.0.store.secrets().map_err(SecretStoreError::Store)?;
        if !known.contains_key(name) {
            return Err(SecretStoreError::NotFound(name.to_owned()));
        }
        let note = self.0.audit.note(by, "secret.removed", name, "");
        let committed = self.0.audit.commit(vec![Op::SecretRemove(name.to_owned())], note).await;
        committed.map_err(SecretStoreError::Commit)
    }

    /// The names, and when each was set.
    pub fn list(&self) -> Result<Vec<(String, UtcMillis)>, SecretStoreError> {
        let known = self.0.store.secrets().map_err(SecretStoreError::Store)?;
        Ok(known
            .into_iter()
            .map(|(name, record)| (name, UtcMillis(record.set_at)))
            .collect())
    }

    /// The value of a name.
    pub async fn get(&self, name: &str) -> Result<String, SecretStoreError> {
        let known = self.0.store.secrets().map_err(SecretStoreError::Store)?;
        let record = known
            .get(name)
            .ok_or_else(|| SecretStoreError::NotFound(name.to_owned()))?;
        let key = self.key().await?;
        let sealed = || SecretStoreError::Sealed(name.to_owned());
        let (nonce, bytes) = record.sealed.split_at_checked(NONCE_LEN).ok_or_else(sealed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| sealed())?;
        let mut bytes = bytes.to_vec();
        let opened = key
            .key
            .open_in_place(nonce, bound_to(name), &mut bytes)
            .map_err(|_| sealed())?;
        String::from_utf8(opened.to_vec()).map_err(|_| sealed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::bus::Bus;
    use crate::runtime::committer::Committer;
    use crate::storage::batch::Batch;

    const CANARY: &str = "canary-7d1f0e5b9c";

    struct Stage {
        folder: tempfile::TempDir,
        store: Store,
        committer: Committer,
        audit: AuditLog,
    }

    impl Stage {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
            let committer = Committer::start(store.clone(), Bus::default()).expect("starts");
            let (clock, entropy) = (Clock::manual(UtcMillis(9)), Entropy::seeded(1));
            let audit = AuditLog::open(store.clone(), committer.clone(), clock, &entropy, folder.path());
            Self {
                audit: audit.expect("opens"),
                folder,
                store,
                committer,
            }
        }

        fn secrets(&self, sources: KeySources) -> SecretStore {
            self.opened(sources).expect("strong enough")
        }

        fn opened(&self, sources: KeySources) -> Result<SecretStore, SecretStoreError> {
            let (clock, entropy) = (Clock::manual(UtcMillis(9)), Entropy::seeded(2));
            let (store, audit) = (self.store.clone(), self.audit.clone());
            SecretStore::new(store, audit, clock, entropy, self.folder.path(), sources)
        }
    }

    fn passphrase(text: &str) -> KeySources {
        KeySources {
            passphrase: Some(text.into()),
            ..KeySources::default()
        }
    }

    #[tokio::test]
    async fn a_secret_is_had_with_its_own_key_and_with_no_other() {
        let stage = Stage::new();
        let credentials = stage.folder.path().join("credentials");
        std::fs::create_dir(&credentials).expect("made");
        std::fs::write(credentials.join(CREDENTIAL), [7; 32]).expect("written");
        let credential = KeySources {
            credentials: Some(credentials),
            ..passphrase("not even looked at")
        };
        for sources in [KeySources::default(), passphrase("correct horse battery"), credential] {
            stage
                .secrets(sources.clone())
                .set("test", "x", CANARY.as_bytes())
                .await
                .expect("kept");
            assert_eq!(
                stage.secrets(sources.clone()).get("x").await.expect("had"),
                CANARY,
                "{sources:?}"
            );
            let other = stage.secrets(passphrase("another passphrase")).get("x").await;
            assert!(matches!(other, Err(SecretStoreError::Sealed(_))), "{sources:?}");
        }
    }

    #[tokio::test]
    async fn a_key_that_is_too_weak_is_refused_before_anything_is_sealed_with_it() {
        let stage = Stage::new();
        let credentials = stage.folder.path().join("credentials");
        std::fs::create_dir(&credentials).expect("made");
        std::fs::write(credentials.join(CREDENTIAL), [7; 15]).expect("written");
        let credential = KeySources {
            credentials: Some(credentials),
            ..passphrase("correct horse battery")
        };
        for sources in [passphrase("short"), passphrase("elevenbytes"), credential] {
            let weak = stage.opened(sources.clone()).err();
            assert!(matches!(weak, Some(SecretStoreError::Key(_))), "{sources:?}: {weak:?}");
        }
        assert!(stage.opened(passphrase("twelve bytes")).is_ok());
    }

    #[tokio::test]
    async fn a_sealed_value_that_was_changed_or_put_under_another_name_does_not_open() {
        let stage = Stage::new();
        let secrets = stage.secrets(KeySources::default());
        secrets.set("test", "one", CANARY.as_bytes()).await.expect("kept");
        let sealed = stage.store.secrets().expect("read").remove("one").expect("there");
        let check = async |what: &str, name: &str, record: SecretRecord| {
            let put = Batch::ops(vec![Op::SecretPut(name.into(), record)]);
            stage.committer.commit(put).await.expect("committed");
            let got = secrets.get(name).await;
            assert!(matches!(got, Err(SecretStoreError::Sealed(_))), "{what}");
        };
        check("another name", "two", sealed.clone()).await;
        let mut flipped = sealed.clone();
        *flipped.sealed.last_mut().expect("bytes") ^= 1;
        check("a flipped bit", "one", flipped).await;
        let cut = SecretRecord {
            sealed: sealed.sealed[..5].to_vec(),
            ..sealed
        };
        check("cut", "one", cut).await;
        secrets.remove("test", "two").await.expect("removed");
        assert!(matches!(secrets.get("two").await, Err(SecretStoreError::NotFound(_))));
        assert!(matches!(
            secrets.remove("test", "two").await,
            Err(SecretStoreError::NotFound(_))
        ));
    }
}
