//! Signed checkpoints of the audit log, in a file outside the store.
//!
//! A chain of hashes alone does not tell that its end was cut off, or that all of it was written anew. A checkpoint says
//! "row N had this hash" under an Ed25519 key that the store does not hold; each is logged too, so that a log collector
//! has them where this machine cannot change them.
//!
//! A row is announced before it is committed and sealed after that, because a kill may come between the two: a log that ends
//! with the row that was announced last is whole, and so is one that ends with the row that was sealed before.
//!
//! **Shape**: one line each, `seq hash at signature`, the last three in hexadecimal digits but for `at`; an announcement has
//! a `~` before it.
//! **Limits**: whoever can read the key's file can forge; it is readable by its owner alone.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::domain::time::UtcMillis;
use crate::runtime::entropy::Entropy;
use crate::runtime::file;

/// Largest file of checkpoints that is read: more than seventy thousand changes.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Why checkpoints cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file cannot be read or written.
    #[error("{verb} {}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The key's file does not hold a key.
    #[error("read {}: it holds no signing key", path.display())]
    Key {
        /// Which.
        path: PathBuf,
    },
}

/// What the file of checkpoints holds.
#[derive(Debug, Default)]
pub struct Known {
    /// Places and hashes under a good signature.
    pub sealed: Vec<(u64, [u8; 32])>,
    /// What was announced last, when nothing was sealed since.
    pub announced: Option<(u64, [u8; 32])>,
    /// Lines that are no checkpoint under this key.
    pub forged: usize,
    /// Whether the file is as long as it was left.
    pub is_as_left: bool,
}

/// Makes checkpoints and reads them back.
pub struct Checkpoints {
    key: Ed25519KeyPair,
    path: PathBuf,
    held: Mutex<Held>,
}

/// What this process knows of the file.
#[derive(Debug, Default, Clone, Copy)]
struct Held {
    /// The last place that was sealed, with its hash.
    last: Option<(u64, [u8; 32])>,
    /// What was announced after it.
    announced: Option<(u64, [u8; 32])>,
    /// How long the file was left.
    bytes: u64,
}

impl std::fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoints")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What a line says of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Announced,
    Sealed,
}

impl Kind {
    /// What a line begins with.
    fn mark(self) -> &'static str {
        match self {
            Self::Announced => "~",
            Self::Sealed => "",
        }
    }

    fn signed(self, seq: u64, hash: &[u8; 32], at: u64) -> Vec<u8> {
        let mut bytes = match self {
            Self::Announced => b"openclaw audit announcement 1".to_vec(),
            Self::Sealed => b"openclaw audit checkpoint 1".to_vec(),
        };
        bytes.extend(seq.to_be_bytes());
        bytes.extend(hash);
        bytes.extend(at.to_be_bytes());
        bytes
    }
}

impl Checkpoints {
    /// Opens the checkpoints of a folder; makes the key when there is none.
    pub fn open(folder: &Path, entropy: &Entropy) -> Result<Self, SealError> {
        let path = folder.join("audit.key");
        let seed = match file::read_private(&path) {
            Ok(Some(text)) => unhex::<32>(text.trim()).ok_or_else(|| SealError::Key { path: path.clone() })?,
            Ok(None) => {
                let mut seed = [0; 32];
                entropy.fill(&mut seed);
                file::replace(&path, format!("{}\n", hex(&seed)).as_bytes(), 0o600).map_err(failed("write", &path))?;
                seed
            }
            Err(source) => return Err(failed("read", &path)(source)),
        };
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| SealError::Key { path })?;
        let checkpoints = Self {
            key,
            path: folder.join("audit.checkpoints"),
            held: Mutex::default(),
        };
        checkpoints.drop_torn_line()?;
        let known = checkpoints.read()?;
        let mut held = checkpoints.held();
        held.last = known.sealed.into_iter().max_by_key(|(seq, _)| *seq);
        held.announced = known.announced;
        held.bytes = checkpoints.bytes()?;
        drop(held);
        Ok(checkpoints)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last checkpoint: the one that was found at the start, or was made since.
    pub fn last(&self) -> Option<(u64, [u8; 32])> {
        self.held().last
    }

    /// What was announced after the last checkpoint: a row that may have been committed or not.
    pub fn announced(&self) -> Option<(u64, [u8; 32])> {
        self.held().announced
    }

    /// Whether the file is as long as it was left: nobody else has shortened it or taken it away.
    pub fn is_as_left(&self) -> Result<bool, SealError> {
        let held = self.held();
        Ok(self.bytes()? == held.bytes)
    }

    /// How long the file is; nothing when there is none.
    fn bytes(&self) -> Result<u64, SealError> {
        match std::fs::metadata(&self.path) {
            Ok(about) => Ok(about.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(failed("read", &self.path)(source)),
        }
    }

    /// A kill may have left a line half written, which the next one must not be appended to.
    fn drop_torn_line(&self) -> Result<(), SealError> {
        let text = file::read_at_most(&self.path, FILE_BYTES_MAX).map_err(failed("read", &self.path))?;
        let text = text.unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            tracing::warn!(file = %self.path.display(), "a checkpoint was half written");
            self.cut_to(whole as u64).map_err(failed("write", &self.path))?;
        }
        Ok(())
    }

    fn cut_to(&self, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    /// Seals a row, unless it or a later one is sealed.
    pub fn seal(&self, seq: u64, hash: [u8; 32], at: UtcMillis) -> Result<(), SealError> {
        let mut held = self.held();
        if held.last.is_some_and(|(last, _)| seq <= last) {
            return Ok(());
        }
        self.append(&mut held, Kind::Sealed, (seq, hash), at)?;
        held.last = Some((seq, hash));
        held.announced = None;
        tracing::info!(seq, hash = %hex(&hash), "audit checkpoint");
        Ok(())
    }

    /// Announces a row that is about to be committed.
    pub fn announce(&self, seq: u64, hash: [u8; 32], at: UtcMillis) -> Result<(), SealError> {
        let mut held = self.held();
        self.append(&mut held, Kind::Announced, (seq, hash), at)?;
        held.announced = Some((seq, hash));
        Ok(())
    }

    fn append(&self, held: &mut Held, kind: Kind, row: (u64, [u8; 32]), at: UtcMillis) -> Result<(), SealError> {
        let (mark, (seq, hash)) = (kind.mark(), row);
        let signature = self.key.sign(&kind.signed(seq, &hash, at.0));
        let line = format!("{mark}{seq} {} {} {}\n", hex(&hash), at.0, hex(signature.as_ref()));
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|mut file| {
                file.write_all(line.as_bytes())?;
                file.sync_all()
            });
        if let Err(source) = written {
            // Half a line would make the next one unreadable; where this fails too, the next start drops it.
            let before = held.bytes;
            if self.bytes()? > before {
                self.cut_to(before).map_err(failed("write", &self.path))?;
            }
            return Err(failed("write", &self.path)(source));
        }
        held.bytes += line.len() as u64;
        Ok(())
    }

    /// Removes the checkpoints of rows before this one, whose own stays: the log begins after it.
    pub fn forget_before(&self, first: u64) -> Result<(), SealError> {
        // Nothing is sealed meanwhile.
        let mut held = self.held();
        let is_as_left = self.bytes()? == held.bytes;
        let text = file::read_at_most(&self.path, FILE_BYTES_MAX).map_err(failed("read", &self.path))?;
        // What is no checkpoint stays, to be told.
        let stays = |line: &&str| parse(line).is_none_or(|(_, (seq, ..))| seq >= first);
        let text = text.unwrap_or_default();
        let left: String = text.lines().filter(stays).flat_map(|line| [line, "\n"]).collect();
        file::replace(&self.path, left.as_bytes(), 0o600).map_err(failed("write", &self.path))?;
        // A file that was not as it was left does not become so by this.
        if is_as_left {
            held.bytes = left.len() as u64;
        }
        Ok(())
    }

    /// All checkpoints.
    pub fn read(&self) -> Result<Known, SealError> {
        let held = self.held();
        let text = file::read_at_most(&self.path, FILE_BYTES_MAX).map_err(failed("read", &self.path))?;
        let mut known = Known {
            is_as_left: text.as_ref().map_or(0, |text| text.len() as u64) == held.bytes,
            ..Known::default()
        };
        // The signatures take their time, and nobody who seals waits for them.
        drop(held);
        let public = UnparsedPublicKey::new(&ED25519, self.key.public_key().as_ref());
        for line in text.unwrap_or_default().lines() {
            let found = parse(line).filter(|(kind, (seq, hash, at, signature))| {
                public.verify(&kind.signed(*seq, hash, *at), signature).is_ok()
            });
            match found {
                Some((Kind::Sealed, (seq, hash, ..))) => {
                    known.sealed.push((seq, hash));
                    known.announced = None;
                }
                Some((Kind::Announced, (seq, hash, ..))) => known.announced = Some((seq, hash)),
                None => known.forged += 1,
            }
        }
        Ok(known)
    }
}

fn failed<'path>(verb: &'static str, path: &'path Path) -> impl FnOnce(io::Error) -> SealError + 'path {
    move |source| SealError::File {
        verb,
        path: path.to_owned(),
        source,
    }
}

/// Place, hash, time and signature of a line.
type Line = (u64, [u8; 32], u64, [u8; 64]);

fn parse(line: &str) -> Option<(Kind, Line)> {
    let (kind, line) = match line.strip_prefix(Kind::Announced.mark()) {
        Some(line) => (Kind::Announced, line),
        None => (Kind::Sealed, line),
    };
    let mut parts = line.split(' ');
    let found = (
        parts.next()?.parse().ok()?,
        unhex(parts.next()?)?,
        parts.next()?.parse().ok()?,
        unhex(parts.next()?)?,
    );
    parts.next().is_none().then_some((kind, found))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Bytes of hexadecimal digits; none when they are not exactly `N`.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_reads_back_and_a_forged_one_counts_as_forged() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Checkpoints::open(folder.path(), &Entropy::seeded(1)).expect("opens");
        let checkpoints = open();
        checkpoints.seal(1, [1; 32], UtcMillis(5)).expect("sealed");
        checkpoints.seal(3, [3; 32], UtcMillis(6)).expect("sealed");
        // Not back in time, and not twice; also not by the next life.
        checkpoints.seal(2, [2; 32], UtcMillis(7)).expect("nothing to do");
        open().seal(3, [9; 32], UtcMillis(8)).expect("nothing to do");
        let known = open().read().expect("read");
        assert_eq!((known.sealed, known.forged), (vec![(1, [1; 32]), (3, [3; 32])], 0));
        let path = folder.path().join("audit.checkpoints");
        let text = std::fs::read_to_string(&path).expect("read");
        std::fs::write(&path, text.replacen(&hex(&[3; 32]), &hex(&[4; 32]), 1)).expect("written");
        let known = open().read().expect("read");
        assert_eq!((known.sealed, known.forged), (vec![(1, [1; 32])], 1));
    }

    #[test]
    fn what_was_announced_is_known_until_something_is_sealed_and_does_not_pass_for_a_checkpoint() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Checkpoints::open(folder.path(), &Entropy::seeded(1)).expect("opens");
        let checkpoints = open();
        checkpoints.seal(1, [1; 32], UtcMillis(5)).expect("sealed");
        // The first of two was not committed.
        checkpoints.announce(2, [2; 32], UtcMillis(6)).expect("announced");
        checkpoints.announce(2, [3; 32], UtcMillis(7)).expect("announced");
        let after_a_kill = open();
        assert_eq!(after_a_kill.last(), Some((1, [1; 32])));
        assert_eq!(after_a_kill.announced(), Some((2, [3; 32])));
        after_a_kill.seal(2, [3; 32], UtcMillis(8)).expect("sealed");
        assert_eq!(after_a_kill.announced(), None);
        let known = open().read().expect("read");
        assert_eq!(
            (known.sealed, known.announced),
            (vec![(1, [1; 32]), (2, [3; 32])], None)
        );
        assert_eq!((known.forged, known.is_as_left), (0, true));
        let path = folder.path().join("audit.checkpoints");
        let text = std::fs::read_to_string(&path).expect("read");
        std::fs::write(&path, text.replace('~', "")).expect("written");
        let known = open().read().expect("read");
        assert_eq!((known.sealed.len(), known.forged), (2, 2), "another signature");
    }

    #[test]
    fn a_file_that_another_has_changed_is_told_and_a_line_that_a_kill_has_torn_harms_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Checkpoints::open(folder.path(), &Entropy::seeded(1)).expect("opens");
        let path = folder.path().join("audit.checkpoints");
        let checkpoints = open();
        assert!(checkpoints.is_as_left().expect("read"), "there is none yet");
        checkpoints.seal(1, [1; 32], UtcMillis(5)).expect("sealed");
        checkpoints.seal(2, [2; 32], UtcMillis(6)).expect("sealed");
        let whole = std::fs::read_to_string(&path).expect("read");
        let check = |what: &str, text: Option<&str>, expected: bool| {
            match text {
                Some(text) => std::fs::write(&path, text).expect("written"),
                None => std::fs::remove_file(&path).expect("removed"),
            }
            let known = checkpoints.read().expect("read");
            assert_eq!(
                (checkpoints.is_as_left().expect("read"), known.is_as_left),
                (expected, expected),
                "{what}"
            );
        };
        check("as it was", Some(&whole), true);
        check("shortened", whole.split_inclusive('\n').next(), false);
        check("removed", None, false);
        checkpoints.seal(3, [3; 32], UtcMillis(7)).expect("sealed");
        assert!(
            !checkpoints.is_as_left().expect("read"),
            "a new one does not make up for it"
        );
        assert_eq!(checkpoints.last(), Some((3, [3; 32])));

        std::fs::write(&path, format!("{whole}3 0303")).expect("written");
        let checkpoints = open();
        assert_eq!(checkpoints.last(), Some((2, [2; 32])));
        checkpoints.seal(3, [3; 32], UtcMillis(7)).expect("sealed");
        let known = checkpoints.read().expect("read");
        assert_eq!((known.sealed.len(), known.forged, known.is_as_left), (3, 0, true));
    }
}
