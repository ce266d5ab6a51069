//! Making, checking, rotating and revoking API keys.
//!
//! **Invariants**: what a key may do is read from its own record, never from a request. Nobody gets a key by asking
//! that can do more, or longer, than the key that asks. A change is committed with its row in the audit log, and holds
//! from the moment of its commit on, whether or not the one who asked still waits; [`Keyring::lapse`] tells whoever
//! serves a stream.
//!
//! **Limits**: [`KEYS_MAX`] keys; the use of a key is noted once a minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::domain::capability::{Capability, CapabilitySet};
use crate::domain::code::{self, Code};
use crate::domain::id::KeyId;
use crate::domain::time::UtcMillis;
use crate::runtime::clock::Clock;
use crate::runtime::committer::{CommitError, Committer};
use crate::runtime::entropy::Entropy;
use crate::storage::batch::{Batch, Op};
use crate::storage::error::StoreError;
use crate::storage::record::key::{KeyRecord, KeyTermsRecord};
use crate::storage::store::Store;
use crate::storage::trust::KeyRow;

use super::api_key::{ApiKey, KeyTextError};
use super::audit::AuditLog;
use super::scope::{AGENT_PREFIX, GRANT_PREFIX, covers, is_scope};

pub use super::scope::SCOPE_ALL;

/// Keys of one store, ended ones included.
pub const KEYS_MAX: usize = 10_000;
/// Scopes of one key.
pub const SCOPES_MAX: usize = 32;
/// Bytes of a key's name.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest time for which a secret that was rotated out stays valid.
pub const OVERLAP_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How coarse the last use of a key is, in milliseconds.
const USE_NOTED_EVERY_MS: u64 = 60_000;

/// All keys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keyring(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    committer: Committer,
    clock: Clock,
    entropy: Entropy,
    audit: AuditLog,
    /// What checks read: replaced whole after each change.
    keys: ArcSwap<BTreeMap<KeyId, Arc<Entry>>>,
    /// Changes happen one at a time, each on what the last one left: held until that is in force.
    changing: Arc<Mutex<()>>,
    revision: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    row: KeyRow,
    /// Of the key, whatever row it has.
    used_at: Arc<AtomicU64>,
    /// Name and scopes as every request of the key gets them.
    name: Arc<str>,
    scopes: Arc<[String]>,
}

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub name: Arc<str>,
    scopes: Arc<[String]>,
    expires_at: Option<UtcMillis>,
    secret_hash: [u8; 32],
}

/// What a new key is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// A name for people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it ends by itself.
    pub expires_at: Option<UtcMillis>,
}

/// Whether a key is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It is.
    Valid,
    /// Its time has passed.
    Expired,
    /// It was taken back.
    Revoked,
}

impl KeyState {
    /// The word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// The public id.
    pub id: KeyId,
    /// Its row in the store.
    pub row: KeyRow,
    /// Whether it is good now.
    pub state: KeyState,
}

/// Why a key is not good, or cannot be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no key.
    #[error("read the key")]
    Text(#[source] KeyTextError),
    /// No such key, a wrong secret, expired or revoked: not told apart, so that nothing is learned by trying.
    #[error("check the key: it is not valid here")]
    NotValid,
    /// No key has this id.
    #[error("find the key {0}")]
    NotFound(KeyId),
    /// The key was revoked or has expired.
    #[error("change the key {id}: it is {}", state.as_str())]
    Ended {
        /// Which.
        id: KeyId,
        /// How.
        state: KeyState,
    },
    /// The key that asks does not carry this itself.
    #[error("hand on the scope `{0}`: the key that asks does not carry it")]
    Scope(String),
    /// The new or changed key would outlive the key that asks.
    #[error("hand on the key: it would outlive the key that asks")]
    Outlives,
    /// The name, the scopes or the end cannot be used.
    #[error("make the key: {0}")]
    Terms(String),
    /// There are too many keys.
    #[error("make the key: there are {KEYS_MAX} keys")]
    TooMany,
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
            Self::NotFound(_) => code::KEY_NOT_FOUND,
            Self::Ended { .. } => code::KEY_ENDED,
            Self::Scope(_) | Self::Outlives => code::SCOPE_EXCEEDED,
            Self::Terms(_) | Self::TooMany => code::KEY_TERMS,
            Self::Store(_) | Self::Commit(_) => code::STORE_FAILED,
        }
    }
}

impl Principal {
    /// Whether the key carries a scope, such as `runs:write`; of one that stands for many, all of it.
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| covers(own, scope))
    }

    /// How the audit log names it.
    pub fn actor(&self) -> String {
        format!("{} ({})", self.key, self.name)
    }

    /// Who gets its requests that name no agent; none when the key does not say.
    pub fn default_agent(&self) -> Option<&str> {
        self.scopes.iter().find_map(|scope| scope.strip_prefix(AGENT_PREFIX))
    }

    /// What the runs that it submits may touch at most; none when the key does not say.
    pub fn grant(&self) -> Option<CapabilitySet> {
        grant_of(&self.scopes)
    }

    /// Refuses to hand on what it does not carry itself. A grant bounds, so a key without one hands on any, and a key
    /// with one none that is wider and no key without.
    fn hands_on(&self, scopes: &[String]) -> Result<(), KeyError> {
        let mut plain = scopes.iter().filter(|scope| !scope.starts_with(GRANT_PREFIX));
        if let Some(scope) = plain.find(|scope| !self.may(scope)) {
            return Err(KeyError::Scope(scope.clone()));
        }
        let Some(own) = self.grant() else { return Ok(()) };
        match grant_of(scopes) {
            Some(theirs) if theirs.is_subset_of(&own) => Ok(()),
            Some(theirs) => {
                let wider = theirs.missing_from(&own).next();
                Err(KeyError::Scope(
                    wider.map_or_else(String::new, |wider| format!("{GRANT_PREFIX}{wider}")),
                ))
            }
            None => Err(KeyError::Scope(format!("{GRANT_PREFIX}*"))),
        }
    }
}

/// The grants among scopes; one that cannot be read allows nothing.
fn grant_of(scopes: &[String]) -> Option<CapabilitySet> {
    let grants = scopes.iter().filter_map(|scope| scope.strip_prefix(GRANT_PREFIX));
    let grants: Vec<&str> = grants.collect();
    (!grants.is_empty()).then(|| {
        let read = grants.iter().filter_map(|text| text.parse::<Capability>().ok());
        read.collect()
    })
}

fn state_of(row: &KeyRow, now: UtcMillis) -> KeyState {
    if row.key.revoked_at.is_some() {
        KeyState::Revoked
    } else if row.terms.expires_at.is_some_and(|at| at <= now.0) {
        KeyState::Expired
    } else {
        KeyState::Valid
    }
}

/// Until when this secret of a key is good: none when it is not, or no longer.
fn good_until(row: &KeyRow, secret_hash: [u8; 32], now: UtcMillis) -> Option<UtcMillis> {
    // Compared in constant time, as `blake3::Hash` does, and both, whichever is right.
    let is = |kept: [u8; 32]| blake3::Hash::from_bytes(kept) == blake3::Hash::from_bytes(secret_hash);
    let is_current = is(row.key.secret_hash);
    let previous_until = row.terms.previous.and_then(|(hash, until)| is(hash).then_some(until));
    if state_of(row, now) != KeyState::Valid {
        return None;
    }
    let expires = row.terms.expires_at.unwrap_or(u64::MAX);
    match (is_current, previous_until) {
        (true, _) => Some(UtcMillis(expires)),
        (false, Some(until)) if until > now.0 => Some(UtcMillis(until.min(expires))),
        _ => None,
    }
}

impl Entry {
    fn of(row: KeyRow, used_at: Arc<AtomicU64>) -> Self {
        Self {
            name: row.key.name.as_str().into(),
            scopes: row.key.scopes.as_slice().into(),
            row,
            used_at,
        }
    }
}

fn principal(entry: &Entry, key: KeyId, secret_hash: [u8; 32], now: UtcMillis) -> Option<Principal> {
    good_until(&entry.row, secret_hash, now)?;
    Some(Principal {
        key,
        name: entry.name.clone(),
        scopes: entry.scopes.clone(),
        expires_at: entry.row.terms.expires_at.map(UtcMillis),
        secret_hash,
    })
}

fn load(store: &Store) -> Result<BTreeMap<KeyId, Arc<Entry>>, KeyError> {
    let rows = store.keys().map_err(KeyError::Store)?;
    let entries = rows.into_iter().map(|row| {
        let id = KeyId::from_bytes(row.key.id);
        let used_at = AtomicU64::new(row.used_at.unwrap_or(0));
        (id, Arc::new(Entry::of(row, used_at.into())))
    });
    Ok(entries.collect())
}

impl Inside {
    /// Puts the row of a key in force.
    fn enforce(&self, row: KeyRow) {
        let id = KeyId::from_bytes(row.key.id);
        let mut keys = BTreeMap::clone(&self.keys.load());
        let used_at = keys.get(&id).map(|entry| entry.used_at.clone());
        keys.insert(id, Arc::new(Entry::of(row, used_at.unwrap_or_default())));
        self.keys.store(Arc::new(keys));
        self.revision.send_modify(|revision| *revision += 1);
    }
}

impl Keyring {
    /// The keys of the store that `audit` writes to.
    pub fn open(
        store: Store,
        committer: Committer,
        clock: Clock,
        entropy: Entropy,
        audit: AuditLog,
    ) -> Result<Self, KeyError> {
        let keys = load(&store)?;
        Ok(Self(Arc::new(Inside {
            committer,
            clock,
            entropy,
            audit,
            keys: ArcSwap::from_pointee(keys),
            changing: Arc::default(),
            revision: watch::Sender::new(0),
        })))
    }

    /// Whose key this is.
    pub fn check(&self, text: &str) -> Result<Principal, KeyError> {
        let key = ApiKey::parse(text).map_err(KeyError::Text)?;
        let now = self.0.clock.now();
        let keys = self.0.keys.load();
        // Before the look for its id: an unknown one takes as long as a wrong secret.
        let secret_hash = std::hint::black_box(key.secret_hash());
        let entry = keys.get(&key.id).ok_or(KeyError::NotValid)?;
        let found = principal(entry, key.id, secret_hash, now).ok_or(KeyError::NotValid)?;
        self.note_use(key.id, entry, now);
        Ok(found)
    }

    /// Keeps when a key was last used, once a minute and without waiting for the disk.
    fn note_use(&self, id: KeyId, entry: &Entry, now: UtcMillis) {
        let last = entry.used_at.load(Ordering::Relaxed);
        if now.0 < last.saturating_add(USE_NOTED_EVERY_MS) {
            return;
        }
        // Of those who see the same, one writes.
        let is_first = entry
            .used_at
            .compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if is_first {
            match self
                .0
                .committer
                .submit(Batch::ops(vec![Op::KeyUsed(id.to_bytes(), now)]))
            {
                Ok(pending) => pending.detach(),
                Err(error) => tracing::debug!(%id, %error, "the use of a key was not noted"),
            }
        }
    }

    /// Resolves when what let `principal` in is not good any more: the key was revoked or has expired, or its secret
    /// was rotated out.
    pub async fn lapse(&self, principal: Principal) {
        let mut revision = self.0.revision.subscribe();
        loop {
            revision.borrow_and_update();
            let now = self.0.clock.now();
            let keys = self.0.keys.load_full();
            let row = keys.get(&principal.key).map(|entry| &entry.row);
            let Some(until) = row.and_then(|row| good_until(row, principal.secret_hash, now)) else {
                return;
            };
            let ends = async {
                if until.0 == u64::MAX {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(self.0.clock.until(until)).await;
            };
            tokio::select! {
                changed = revision.changed() => if changed.is_err() { return },
                () = ends => {}
            }
        }
    }

    /// All keys, oldest first.
    pub fn list(&self) -> Vec<KeyView> {
        let now = self.0.clock.now();
        let keys = self.0.keys.load();
        keys.iter().map(|(id, entry)| view(*id, entry, now)).collect()
    }

    /// Makes a key. Its text exists only in what is returned.
    ///
    /// **Cancel**: as with every change, what was queued is committed and then holds.
    pub async fn mint(&self, by: &Principal, wanted: NewKey) -> Result<(ApiKey, KeyView), KeyError> {
        let changing = self.0.changing.clone().lock_owned().await;
        let now = self.0.clock.now();
        check_terms(&wanted, now)?;
        by.hands_on(&wanted.scopes)?;
        ends_in_time(by, wanted.expires_at)?;
        if self.0.keys.load().len() >= KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let scopes: Vec<&str> = wanted.scopes.iter().map(String::as_str).collect();
        let (key, record) = new_key(now, &self.0.entropy, &wanted.name, &scopes);
        let terms = KeyTermsRecord {
            expires_at: wanted.expires_at.map(|at| at.0),
            made_by: by.actor(),
            ..KeyTermsRecord::default()
        };
        let detail = format!("{}: {}", wanted.name, scopes.join(" "));
        let row = KeyRow {
            key: record,
            terms,
            used_at: None,
        };
        self.change(changing, by, "key.created", &detail, row).await?;
        let made = self.view(key.id)?;
        Ok((key, made))
    }

    /// Gives a key a new secret; the old one stays valid for `overlap`, at most [`OVERLAP_MAX`].
    pub async fn rotate(&self, by: &Principal, id: KeyId, overlap: Duration) -> Result<(ApiKey, KeyView), KeyError> {
        let changing = self.0.changing.clone().lock_owned().await;
        let row = self.changeable(by, id)?;
        let now = self.0.clock.now();
        let overlap = overlap.min(OVERLAP_MAX);
        let mut random = [0; 32];
        self.0.entropy.fill(&mut random);
        let key = ApiKey::new(id, random);
        let previous = (!overlap.is_zero()).then(|| (row.key.secret_hash, now.plus_ms(overlap.as_millis() as u64).0));
        let terms = KeyTermsRecord {
            previous,
            rotated_at: Some(now.0),
            ..row.terms
        };
        let key_record = KeyRecord {
            secret_hash: key.secret_hash(),
            ..row.key
        };
        let row = KeyRow {
            key: key_record,
            terms,
            ..row
        };
        let detail = format!("the old secret stays valid for {} s", overlap.as_secs());
        self.change(changing, by, "key.rotated", &detail, row).await?;
        let rotated = self.view(id)?;
        Ok((key, rotated))
    }

    /// Takes a key back, with all its secrets.
    pub async fn revoke(&self, by: &Principal, id: KeyId) -> Result<KeyView, KeyError> {
        let changing = self.0.changing.clone().lock_owned().await;
        let mut row = self.changeable(by, id)?;
        row.key.revoked_at = Some(self.0.clock.now().0);
        let detail = row.key.name.clone();
        self.change(changing, by, "key.revoked", &detail, row).await?;
        self.view(id)
    }

    /// The row of a key that `by` may change: changing a stronger key, or one that is good for longer, would be a
    /// way to what it has, or to take its owner's access away.
    fn changeable(&self, by: &Principal, id: KeyId) -> Result<KeyRow, KeyError> {
        let KeyView { row, state, .. } = self.view(id)?;
        by.hands_on(&row.key.scopes)?;
        ends_in_time(by, row.terms.expires_at.map(UtcMillis))?;
        match state {
            KeyState::Valid => Ok(row),
            state => Err(KeyError::Ended { id, state }),
        }
    }

    fn view(&self, id: KeyId) -> Result<KeyView, KeyError> {
        let keys = self.0.keys.load();
        let entry = keys.get(&id).ok_or(KeyError::NotFound(id))?;
        Ok(view(id, entry, self.0.clock.now()))
    }

    /// Commits a key's row, and puts it in force with the commit: a client that leaves, as one does whose connection
    /// breaks, must not leave a key good whose revocation is on record.
    async fn change(
        &self,
        changing: OwnedMutexGuard<()>,
        by: &Principal,
        action: &'static str,
        detail: &str,
        row: KeyRow,
    ) -> Result<(), KeyError> {
        let id = KeyId::from_bytes(row.key.id);
        let note = self.0.audit.note(&by.actor(), action, &id.to_string(), detail);
        let ops = vec![
            Op::KeyPut(row.key.clone()),
            Op::KeyTermsPut(row.key.id, row.terms.clone()),
            Op::AuditAppend(note),
        ];
        let inside = self.0.clone();
        let enforce = move || {
            inside.enforce(row);
            drop(changing);
        };
        self.0.audit.commit_then(ops, enforce).await.map_err(KeyError::Commit)
    }
}

fn view(id: KeyId, entry: &Entry, now: UtcMillis) -> KeyView {
    let used_at = entry.used_at.load(Ordering::Relaxed);
    let row = KeyRow {
        used_at: (used_at > 0).then_some(used_at),
        ..entry.row.clone()
    };
    KeyView {
        id,
        state: state_of(&row, now),
        row,
    }
}

/// A key that ends hands on nothing that ends later.
fn ends_in_time(by: &Principal, ends: Option<UtcMillis>) -> Result<(), KeyError> {
    match by.expires_at {
        Some(own) if ends.is_none_or(|at| at > own) => Err(KeyError::Outlives),
        _ => Ok(()),
    }
}

fn check_terms(wanted: &NewKey, now: UtcMillis) -> Result<(), KeyError> {
    let refuse = |why: String| Err(KeyError::Terms(why));
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if !is_name(&wanted.name) {
        return refuse(format!(
            "a name has 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`"
        ));
    }
    if wanted.scopes.is_empty() || wanted.scopes.len() > SCOPES_MAX {
        return refuse(format!("a key has 1 to {SCOPES_MAX} scopes"));
    }
    if let Some(scope) = wanted.scopes.iter().find(|scope| !is_scope(scope)) {
        let scope = crate::domain::text::preview(scope, 64);
        return refuse(format!("`{scope}` is not a scope such as runs:read, runs:* or *"));
    }
    if wanted.expires_at.is_some_and(|at| at <= now) {
        return refuse("it would have expired already".into());
    }
    Ok(())
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

/// Whose key this is in a store that no daemon has open.
pub fn check_in(store: &Store, text: &str, now: UtcMillis) -> Result<Principal, KeyError> {
    let key = ApiKey::parse(text).map_err(KeyError::Text)?;
    let rows = store.keys().map_err(KeyError::Store)?;
    let row = rows.into_iter().find(|row| row.key.id == key.id.to_bytes());
    let entry = row.map(|row| Entry::of(row, Arc::default()));
    entry
        .and_then(|entry| principal(&entry, key.id, key.secret_hash(), now))
        .ok_or(KeyError::NotValid)
}

#[cfg(test)]
mod tests;
