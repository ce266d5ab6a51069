//! Signed checkpoints of the audit log, in a file outside the store.
//!
//! A chain of hashes alone does not tell that its end was cut off, or that all of it was written anew. A checkpoint says
//! "row N had this hash" under an Ed25519 key that the store does not hold; each is logged too, so that a log collector
//! has them where this machine cannot change them.
//!
//! **Shape**: one line each, `seq hash at signature`, the last three in hexadecimal digits but for `at`.
//! **Limits**: whoever can read the key's file can forge; it is readable by its owner alone.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::domain::time::UtcMillis;
use crate::runtime::entropy::Entropy;
use crate::runtime::file;

/// Largest file of checkpoints that is read: more than a hundred thousand changes.
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
    /// Lines that are no checkpoint under this key.
    pub forged: usize,
}

/// Makes checkpoints and reads them back.
pub struct Checkpoints {
    key: Ed25519KeyPair,
    path: PathBuf,
    /// The last place that was sealed.
    last: Mutex<u64>,
}

impl std::fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoints")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

fn signed(seq: u64, hash: &[u8; 32], at: u64) -> Vec<u8> {
    let mut bytes = b"openclaw audit checkpoint 1".to_vec();
    bytes.extend(seq.to_be_bytes());
    bytes.extend(hash);
    bytes.extend(at.to_be_bytes());
    bytes
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
            last: Mutex::new(0),
        };
        let known = checkpoints.read()?;
        let last = known.sealed.iter().map(|(seq, _)| *seq).max();
        *checkpoints.last.lock().unwrap_or_else(PoisonError::into_inner) = last.unwrap_or(0);
        Ok(checkpoints)
    }

    /// Seals a row, unless it or a later one is sealed.
    pub fn seal(&self, seq: u64, hash: [u8; 32], at: UtcMillis) -> Result<(), SealError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if seq <= *last {
            return Ok(());
        }
        let signature = self.key.sign(&signed(seq, &hash, at.0));
        let line = format!("{seq} {} {} {}\n", hex(&hash), at.0, hex(signature.as_ref()));
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|mut file| {
                file.write_all(line.as_bytes())?;
                file.sync_all()
            });
        written.map_err(failed("write", &self.path))?;
        *last = seq;
        tracing::info!(seq, hash = %hex(&hash), "audit checkpoint");
        Ok(())
    }

    /// Removes the checkpoints of rows before this one, whose own stays: the log begins after it.
    pub fn forget_before(&self, first: u64) -> Result<(), SealError> {
        // Nothing is sealed meanwhile.
        let _last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let text = file::read_at_most(&self.path, FILE_BYTES_MAX).map_err(failed("read", &self.path))?;
        // What is no checkpoint stays, to be told.
        let stays = |line: &&str| parse(line).is_none_or(|(seq, ..)| seq >= first);
        let text = text.unwrap_or_default();
        let left: String = text.lines().filter(stays).flat_map(|line| [line, "\n"]).collect();
        file::replace(&self.path, left.as_bytes(), 0o600).map_err(failed("write", &self.path))
    }

    /// All checkpoints.
    pub fn read(&self) -> Result<Known, SealError> {
        let text = file::read_at_most(&self.path, FILE_BYTES_MAX).map_err(failed("read", &self.path))?;
        let mut known = Known::default();
        let public = UnparsedPublicKey::new(&ED25519, self.key.public_key().as_ref());
        for line in text.unwrap_or_default().lines() {
            let found = parse(line)
                .filter(|(seq, hash, at, signature)| public.verify(&signed(*seq, hash, *at), signature).is_ok());
            match found {
                Some((seq, hash, _, _)) => known.sealed.push((seq, hash)),
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

fn parse(line: &str) -> Option<(u64, [u8; 32], u64, [u8; 64])> {
    let mut parts = line.split(' ');
    let found = (
        parts.next()?.parse().ok()?,
        unhex(parts.next()?)?,
        parts.next()?.parse().ok()?,
        unhex(parts.next()?)?,
    );
    parts.next().is_none().then_some(found)
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
}
