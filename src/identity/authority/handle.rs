//! The authority of a running daemon: issues, renews, revokes, and rotates itself.
//!
//! **Invariant**: what is committed is in force with its commit, whether or not the one who asked still waits: the
//! request that revokes a certificate may well have come over the connection that ends with it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::domain::code::{self, Code};
use crate::domain::time::UtcMillis;
use crate::identity::audit::AuditLog;
use crate::identity::checkpoint::hex;
use crate::runtime::clock::Clock;
use crate::runtime::committer::CommitError;
use crate::runtime::entropy::Entropy;
use crate::runtime::file::read_private;
use crate::storage::batch::Op;
use crate::storage::error::StoreError;
use crate::storage::record::certificate::CertificateRecord;
use crate::storage::store::Store;

use super::client::{ClientError, certificates};
use super::expiry::{CertificateKind, Ending, given_out, validity};
use super::files::{Authorities, AuthorityFiles, FilesError};
use super::issue::{IssueError, Issued, SigningAuthority, Wanted, renew_at};
use super::name::Identity;
use super::serving::{Shown, ShownError, shown};
use super::trust::{Peer, PeerRefused, Trust, peer_of};

/// Life of the certificates that renew themselves.
const OWN_LIFE_MS: u64 = 24 * 3600 * 1000;
/// Longest life of a certificate that is given out.
pub const LIFE_MS_MAX: u64 = 366 * 24 * 3600 * 1000;
/// Certificates that are known at once.
const CERTIFICATES_MAX: usize = 100_000;
/// How long the record of a certificate outlives it.
const KEPT_MS: u64 = 30 * 24 * 3600 * 1000;
/// Further names of one certificate.
const NAMES_MAX: usize = 16;
/// Who acts when nobody asked.
const DAEMON: &str = "the daemon";

/// Why the authority did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its folder cannot be used.
    #[error("use the folder of the authority")]
    Files(#[source] FilesError),
    /// A certificate was not made.
    #[error("issue a certificate")]
    Issue(#[source] IssueError),
    /// The certificates cannot be put to use.
    #[error("put the certificates to use")]
    Use(#[source] ClientError),
    /// The store cannot be read.
    #[error("read the certificates")]
    Store(#[source] StoreError),
    /// The change cannot be written.
    #[error("write the certificates")]
    Commit(#[source] CommitError),
    /// What is asked for is not given out.
    #[error("issue a certificate: {0}")]
    Terms(&'static str),
    /// No certificate has this serial number.
    #[error("find the certificate {0}")]
    NotFound(String),
    /// It was revoked before.
    #[error("revoke the certificate {0}: it is revoked")]
    IsRevoked(String),
    /// Another step comes first.
    #[error("rotate the authority: the next step is `{}`", .0.as_str())]
    Step(Step),
}

impl From<ShownError> for AuthorityError {
    fn from(error: ShownError) -> Self {
        match error {
            ShownError::Check(error) => Self::Issue(error),
            ShownError::Use(error) => Self::Use(error),
        }
    }
}

impl AuthorityError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Files(_) | Self::Use(_) => code::AUTHORITY_FILES,
            Self::Issue(_) => code::BUG,
            Self::Store(_) | Self::Commit(_) => code::STORE_FAILED,
            Self::Terms(_) => code::CERTIFICATE_TERMS,
            Self::NotFound(_) => code::CERTIFICATE_NOT_FOUND,
            Self::IsRevoked(_) | Self::Step(_) => code::AUTHORITY_STEP,
        }
    }
}

/// One of the three steps by which an authority takes another's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make the new one and trust both.
    Trust,
    /// Sign with the new one.
    Issue,
    /// Trust the new one alone.
    Drop,
}

impl Step {
    /// The word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Issue => "issue",
            Self::Drop => "drop",
        }
    }

    /// The step of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Trust, Self::Issue, Self::Drop]
            .into_iter()
            .find(|step| step.as_str() == word)
    }

    /// The step that comes next for authorities with these numbers.
    pub fn next(trusted: &[u32], issuing: u32) -> Self {
        if trusted.iter().any(|number| *number > issuing) {
            Self::Issue
        } else if trusted.iter().any(|number| *number < issuing) {
            Self::Drop
        } else {
            Self::Trust
        }
    }
}

/// How the authority stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityView {
    /// Numbers of the authorities that are trusted.
    pub trusted: Vec<u32>,
    /// The one that signs.
    pub issuing: u32,
    /// What `rotate` does next.
    pub next: Step,
    /// All certificates that are known, the newest first.
    pub certificates: Vec<CertificateRecord>,
}

/// The authority. Cheap to clone.
#[derive(Clone)]
pub struct Authority(Arc<Inside>);

struct Inside {
    files: AuthorityFiles,
    audit: AuditLog,
    clock: Clock,
    entropy: Entropy,
    trust: Arc<ArcSwap<Trust>>,
    served: ArcSwap<Served>,
    /// Changes happen one at a time, each on what the last one left: held until that is in force.
    changing: Arc<Mutex<()>>,
    revision: watch::Sender<u64>,
    /// Of this daemon's renewals, from 0 to 1000.
    jitter: u64,
    /// Names of the daemon beside those of this machine to itself.
    names: Vec<String>,
}

/// What the daemon shows, and by what it checks others.
struct Served {
    shown: Arc<Shown>,
    own: Arc<Issued>,
    issuing: u32,
    /// From when to when the authority that signs is good; none when that cannot be read.
    signs: Option<(UtcMillis, UtcMillis)>,
}

/// From when to when the authority that signs is good.
fn signs(authorities: &Authorities) -> Option<(UtcMillis, UtcMillis)> {
    let read = certificates("the authority", &authorities.issuer()?.pem).ok()?;
    validity(read.first()?)
}

fn trust_of(records: Vec<CertificateRecord>, authorities: &Authorities) -> Trust {
    Trust {
        certificates: records.into_iter().map(|record| (record.serial, record)).collect(),
        authorities: authorities.numbers(),
    }
}

/// The action and the object of the row that tells of the first authority.
pub const CREATED: &str = "authority.created";
/// See [`CREATED`].
pub const FIRST: &str = "authority 1";
/// Rows that a log may have before its first certificate: it is looked for among these.
const FIRST_ROWS: usize = 1000;

/// Whether the log tells of the first authority. Its files come before its row, and a kill may come between.
fn is_told(records: &[CertificateRecord], store: &Store) -> Result<bool, AuthorityError> {
    if !records.is_empty() {
        // It is told with its first certificate at the latest.
        return Ok(true);
    }
    let rows = store.audit(None, FIRST_ROWS).map_err(AuthorityError::Store)?;
    Ok(rows.iter().any(|row| *row.note.action == *CREATED))
}

impl Authority {
    /// The authority of `folder`. Makes what is missing: the first authority, and the operator's certificate. `names`
    /// are those of the daemon beside `localhost` and the loopback addresses.
    pub async fn open(
        folder: &Path,
        names: Vec<String>,
        store: Store,
        audit: AuditLog,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self, AuthorityError> {
        let files = AuthorityFiles::new(folder.to_owned());
        let now = clock.now();
        let (authorities, is_new) = files.ensure(now).map_err(AuthorityError::Files)?;
        // A kill between two files may have left the bundle behind.
        let authorities = if is_new {
            authorities
        } else {
            files.write_bundle().map_err(AuthorityError::Files)?
        };
        let records = store.certificates().map_err(AuthorityError::Store)?;
        let mut ops = Vec::new();
        if is_new || !is_told(&records, &store)? {
            let note = audit.note(DAEMON, CREATED, FIRST, "");
            ops.push(Op::AuditAppend(note));
        }
        let trust = Arc::new(ArcSwap::from_pointee(trust_of(records, &authorities)));
        let mut draft = Draft {
            files: &files,
            audit: &audit,
            clock: &clock,
            entropy: &entropy,
            by: DAEMON,
            names: &names,
            ops,
        };
        let own = draft.own(&authorities)?;
        let operator = draft.operator_if_due(&authorities, &trust.load(), jitter(&entropy))?;
        audit.commit_all(draft.ops).await.map_err(AuthorityError::Commit)?;
        let records = store.certificates().map_err(AuthorityError::Store)?;
        trust.store(Arc::new(trust_of(records, &authorities)));
        let shown = shown(&trust, &authorities.bundle(), &own, now)?;
        write_operator(&files, operator.as_ref())?;
        let served = Served {
            shown: Arc::new(shown),
            own: Arc::new(own),
            issuing: authorities.issuing,
            signs: signs(&authorities),
        };
        Ok(Self(Arc::new(Inside {
            files,
            audit,
            jitter: jitter(&entropy),
            names,
            clock,
            entropy,
            trust,
            served: ArcSwap::from_pointee(served),
            changing: Arc::default(),
            revision: watch::Sender::new(0),
        })))
    }

    /// TLS for the next connection.
    pub fn shown(&self) -> Arc<Shown> {
        self.0.served.load().shown.clone()
    }

    /// Who showed this certificate, when it is let in.
    pub fn admit(&self, certificate: Option<&CertificateDer<'_>>) -> Result<Peer, PeerRefused> {
        let peer = peer_of(certificate.ok_or(PeerRefused::Unreadable)?)?;
        self.0.trust.load().admit(peer.serial, self.0.clock.now())?;
        Ok(peer)
    }

    /// Resolves when a certificate that was let in is not good any more, with the reason.
    pub async fn lapse(&self, serial: [u8; 16]) -> PeerRefused {
        let mut revision = self.0.revision.subscribe();
        loop {
            revision.borrow_and_update();
            let until = match self.0.trust.load().admit(serial, self.0.clock.now()) {
                Ok(until) => until,
                Err(why) => return why,
            };
            tokio::select! {
                changed = revision.changed() => if changed.is_err() { return PeerRefused::Authority },
                () = tokio::time::sleep(self.0.clock.until(until)) => {}
            }
        }
    }

    /// How it stands.
    pub fn view(&self) -> AuthorityView {
        let (trust, issuing) = (self.0.trust.load(), self.0.served.load().issuing);
        let mut certificates: Vec<CertificateRecord> = trust.certificates.values().cloned().collect();
        certificates.sort_by_key(|record| std::cmp::Reverse((record.not_before, record.serial)));
        AuthorityView {
            trusted: trust.authorities.clone(),
            issuing,
            next: Step::next(&trust.authorities, issuing),
            certificates,
        }
    }

    /// The certificates by whose end something stops to work, with their ends.
    pub fn endings(&self) -> Vec<Ending> {
        let served = self.0.served.load();
        let mut endings = given_out(self.0.trust.load().certificates.values());
        endings.push(Ending {
            kind: CertificateKind::Own,
            of: served.own.record.identity.clone(),
            not_before: UtcMillis(served.own.record.not_before),
            not_after: UtcMillis(served.own.record.not_after),
        });
        endings.extend(served.signs.map(|(not_before, not_after)| Ending {
            kind: CertificateKind::Authority,
            of: format!("authority {}", served.issuing),
            not_before,
            not_after,
        }));
        endings
    }

    /// How long until a certificate is to be made anew.
    pub fn until_renewal(&self) -> Duration {
        let own = &self.0.served.load().own.record;
        let at = renew_at(UtcMillis(own.not_before), UtcMillis(own.not_after), self.0.jitter);
        self.0.clock.until(at)
    }

    /// Makes the daemon's own certificate and the operator's anew when their time has come.
    pub async fn renew_due(&self) -> Result<(), AuthorityError> {
        if self.until_renewal().is_zero() {
            self.renew().await?;
        }
        Ok(())
    }

    /// Makes the daemon's own certificate anew now, and the operator's when it is due; no connection is dropped.
    pub async fn renew(&self) -> Result<(), AuthorityError> {
        let changing = self.0.changing.clone().lock_owned().await;
        let authorities = self.read()?;
        self.change(changing, &authorities, Vec::new(), true).await
    }

    /// Gives out a certificate. Its key exists only in what is returned.
    ///
    /// **Cancel**: as with every change, what was queued is committed and then holds.
    pub async fn issue(&self, by: &str, wanted: Wanted) -> Result<Issued, AuthorityError> {
        let changing = self.0.changing.clone().lock_owned().await;
        if wanted.identity == Identity::daemon() {
            return Err(AuthorityError::Terms("service/daemon is the daemon's own"));
        }
        if wanted.life_ms == 0 || wanted.life_ms > LIFE_MS_MAX {
            return Err(AuthorityError::Terms("a certificate lasts at most 366 days"));
        }
        let is_own = |name: &String| {
            let is_loopback = |address: std::net::IpAddr| address.is_loopback() || address.is_unspecified();
            name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
        };
        if wanted.dns.len() > NAMES_MAX || wanted.dns.iter().any(is_own) {
            return Err(AuthorityError::Terms(
                "it has at most 16 further names, and never those of this machine to itself",
            ));
        }
        let is_name = |name: &String| ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok();
        if !wanted.dns.iter().all(is_name) {
            return Err(AuthorityError::Terms(
                "each of its further names is one of DNS, or an address",
            ));
        }
        if self.0.trust.load().certificates.len() >= CERTIFICATES_MAX {
            return Err(AuthorityError::Terms("too many certificates are known already"));
        }
        let authorities = self.read()?;
        let mut draft = self.draft(by, Vec::new());
        let issued = draft.issue(&authorities, &wanted)?;
        let ops = draft.ops;
        self.change(changing, &authorities, ops, false).await?;
        Ok(issued)
    }

    /// Takes a certificate back: it opens nothing from now on, and its connections are closed. One that the daemon made
    /// for itself or for the owner of the home is replaced with the same commit.
    pub async fn revoke(&self, by: &str, serial: [u8; 16]) -> Result<(), AuthorityError> {
        let changing = self.0.changing.clone().lock_owned().await;
        let known = self.0.trust.load().certificates.get(&serial).cloned();
        let known = known.ok_or_else(|| AuthorityError::NotFound(hex(&serial)))?;
        if known.revoked_at.is_some() {
            return Err(AuthorityError::IsRevoked(hex(&serial)));
        }
        let note = self
            .0
            .audit
            .note(by, "certificate.revoked", &hex(&serial), &known.identity);
        let record = CertificateRecord {
            revoked_at: Some(self.0.clock.now().0),
            ..known
        };
        let is_own =
            serial == self.0.served.load().own.record.serial || record.identity == Identity::operator().to_string();
        let authorities = self.read()?;
        let ops = vec![Op::CertificatePut(record), Op::AuditAppend(note)];
        self.change(changing, &authorities, ops, is_own).await
    }

    /// Takes the next step towards another authority, or the one that is named when it is the next. Clients need the
    /// new bundle between the first and the second step, and new certificates between the second and the third.
    pub async fn rotate(&self, by: &str, step: Option<Step>) -> Result<AuthorityView, AuthorityError> {
        let changing = self.0.changing.clone().lock_owned().await;
        let before = self.view();
        if step.is_some_and(|step| step != before.next) {
            return Err(AuthorityError::Step(before.next));
        }
        let now = self.0.clock.now();
        let issuing = before.issuing;
        let told = |object: u32| format!("authority {object}");
        let (action, object) = match before.next {
            Step::Trust => ("authority.trusted", told(issuing + 1)),
            Step::Issue => ("authority.issuing", told(issuing + 1)),
            Step::Drop => ("authority.dropped", told(issuing - 1)),
        };
        let note = self.0.audit.note(by, action, &object, "");
        self.0
            .audit
            .commit_all(vec![Op::AuditAppend(note)])
            .await
            .map_err(AuthorityError::Commit)?;
        let files = &self.0.files;
        let authorities = match before.next {
            Step::Trust => {
                let made = SigningAuthority::make(issuing + 1, now).map_err(AuthorityError::Issue)?;
                files.add(&made).and_then(|()| files.write_bundle())
            }
            Step::Issue => files.issue_from(issuing + 1),
            Step::Drop => files.drop_before(issuing),
        };
        let authorities = authorities.map_err(AuthorityError::Files)?;
        self.change(changing, &authorities, Vec::new(), before.next == Step::Issue)
            .await?;
        Ok(self.view())
    }

    fn read(&self) -> Result<Authorities, AuthorityError> {
        let (authorities, _) = self.0.files.ensure(self.0.clock.now()).map_err(AuthorityError::Files)?;
        Ok(authorities)
    }

    fn draft<'draft>(&'draft self, by: &'draft str, ops: Vec<Op>) -> Draft<'draft> {
        Draft {
            files: &self.0.files,
            audit: &self.0.audit,
            clock: &self.0.clock,
            entropy: &self.0.entropy,
            by,
            names: &self.0.names,
            ops,
        }
    }

    /// Commits a change and puts it in force with the commit: what is trusted, what is shown, and who has to go. One
    /// that `renews` makes anew what the daemon made for itself, and for the operator where that is due after the change.
    async fn change(
        &self,
        changing: OwnedMutexGuard<()>,
        authorities: &Authorities,
        ops: Vec<Op>,
        renews: bool,
    ) -> Result<(), AuthorityError> {
        let inside = self.0.clone();
        let now = inside.clock.now();
        let mut trust = Trust {
            certificates: inside.trust.load().certificates.clone(),
            authorities: authorities.numbers(),
        };
        trust.take_in(&ops);
        let before = ops.len();
        let mut draft = self.draft(DAEMON, ops);
        let (mut own, mut operator) = (inside.served.load().own.clone(), None);
        if renews {
            own = Arc::new(draft.own(authorities)?);
            operator = draft.operator_if_due(authorities, &trust, inside.jitter)?;
            for record in trust.certificates.values() {
                if record.not_after.saturating_add(KEPT_MS) < now.0 {
                    draft.ops.push(Op::CertificateRemove(record.serial));
                }
            }
        }
        let ops = draft.ops;
        trust.take_in(&ops[before..]);
        let served = Served {
            shown: Arc::new(shown(&inside.trust, &authorities.bundle(), &own, now)?),
            own,
            issuing: authorities.issuing,
            signs: signs(authorities),
        };
        let audit = inside.audit.clone();
        let enforce = move || {
            // The file first: whoever loses a connection by what follows finds the next certificate in it.
            let written = write_operator(&inside.files, operator.as_ref());
            inside.trust.store(Arc::new(trust));
            inside.served.store(Arc::new(served));
            inside.revision.send_modify(|revision| *revision += 1);
            drop(changing);
            written
        };
        if ops.is_empty() {
            return enforce();
        }
        audit.commit_then(ops, enforce).await.map_err(AuthorityError::Commit)?
    }
}

fn jitter(entropy: &Entropy) -> u64 {
    (entropy.u128() % 1001) as u64
}

fn write_operator(files: &AuthorityFiles, operator: Option<&Issued>) -> Result<(), AuthorityError> {
    match operator {
        Some(issued) => files
            .write_operator(&issued.pem, &issued.key_pem)
            .map_err(AuthorityError::Files),
        None => Ok(()),
    }
}

/// What is about to be committed.
struct Draft<'draft> {
    files: &'draft AuthorityFiles,
    audit: &'draft AuditLog,
    clock: &'draft Clock,
    entropy: &'draft Entropy,
    by: &'draft str,
    names: &'draft [String],
    ops: Vec<Op>,
}

impl Draft<'_> {
    fn issue(&mut self, authorities: &Authorities, wanted: &Wanted) -> Result<Issued, AuthorityError> {
        let issuer = authorities
            .issuer()
            .expect("the folder is read with its issuer or not at all");
        let issued = issuer.issue(wanted, self.clock.now(), self.entropy);
        let issued = issued.map_err(AuthorityError::Issue)?;
        let record = issued.record.clone();
        let detail = format!("{} by authority {}", record.identity, record.authority);
        let note = self
            .audit
            .note(self.by, "certificate.issued", &hex(&record.serial), &detail);
        self.ops.extend([Op::CertificatePut(record), Op::AuditAppend(note)]);
        Ok(issued)
    }

    fn own(&mut self, authorities: &Authorities) -> Result<Issued, AuthorityError> {
        let wanted = Wanted {
            identity: Identity::daemon(),
            life_ms: OWN_LIFE_MS,
            dns: self.names.to_vec(),
        };
        self.issue(authorities, &wanted)
    }

    /// The operator's certificate, unless the one that lies in the folder will do for a while.
    fn operator_if_due(
        &mut self,
        authorities: &Authorities,
        trust: &Trust,
        jitter: u64,
    ) -> Result<Option<Issued>, AuthorityError> {
        let now = self.clock.now();
        let text = read_private(&self.files.operator_file()).ok().flatten();
        let peer = text.as_deref().and_then(|text| {
            let found = certificates("the operator's certificate", text).ok()?;
            peer_of(found.first()?).ok()
        });
        let record = peer.filter(|peer| trust.admit(peer.serial, now).is_ok());
        let record = record.and_then(|peer| trust.certificates.get(&peer.serial));
        let will_do = record.is_some_and(|record| {
            record.authority == authorities.issuing
                && renew_at(UtcMillis(record.not_before), UtcMillis(record.not_after), jitter) > now
        });
        if will_do {
            return Ok(None);
        }
        let wanted = Wanted {
            identity: Identity::operator(),
            life_ms: OWN_LIFE_MS,
            dns: Vec::new(),
        };
        self.issue(authorities, &wanted).map(Some)
    }
}

#[cfg(test)]
mod tests;
