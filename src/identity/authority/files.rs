//! The folder of the authority.
//!
//! **Invariant**: each file is there whole or not at all, and the order of writes leaves a folder that works after a
//! kill at any moment: a key before its certificate, a certificate before the bundle that names it, the word who issues
//! last.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::time::UtcMillis;
use crate::runtime::file::{read_at_most, read_private, replace};

use super::issue::{IssueError, SigningAuthority};

/// Largest file of certificates.
pub(super) const PEM_BYTES_MAX: u64 = 256 * 1024;
/// Authorities at once: the old one and the new one.
const AUTHORITIES_MAX: usize = 2;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
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
    /// A file is not what this program writes.
    #[error("read {}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: IssueError,
    },
    /// A certificate or key is missing beside the other.
    #[error("find {}: the authority is incomplete", .0.display())]
    Missing(PathBuf),
}

/// The folder.
#[derive(Debug, Clone)]
pub struct AuthorityFiles(PathBuf);

/// What is in it.
#[derive(Debug)]
pub struct Authorities {
    /// All that are trusted, the oldest first.
    pub trusted: Vec<SigningAuthority>,
    /// The number of the one that signs.
    pub issuing: u32,
}

impl Authorities {
    /// The one that signs.
    pub fn issuer(&self) -> Option<&SigningAuthority> {
        self.trusted.iter().find(|authority| authority.number == self.issuing)
    }

    /// The numbers of all that are trusted.
    pub fn numbers(&self) -> Vec<u32> {
        self.trusted.iter().map(|authority| authority.number).collect()
    }

    /// All trusted certificates.
    pub fn bundle(&self) -> String {
        self.trusted.iter().map(|authority| authority.pem.as_str()).collect()
    }
}

impl AuthorityFiles {
    /// The folder at this place.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// All authorities that are trusted: what clients of this installation are given.
    pub fn bundle_file(&self) -> PathBuf {
        self.0.join("internal.pem")
    }

    /// Certificate and key of whoever owns the home.
    pub fn operator_file(&self) -> PathBuf {
        self.0.join("operator.pem")
    }

    fn certificate_file(&self, number: u32) -> PathBuf {
        self.0.join(format!("authority-{number}.pem"))
    }

    fn key_file(&self, number: u32) -> PathBuf {
        self.0.join(format!("authority-{number}.key"))
    }

    fn issuing_file(&self) -> PathBuf {
        self.0.join("issuing")
    }

    /// Reads the authorities; none before the first was made.
    pub fn read(&self) -> Result<Option<Authorities>, FilesError> {
        let issuing = self.issuing_file();
        let text = read_at_most(&issuing, 64).map_err(failed("read", &issuing))?;
        let Some(number) = text.as_deref().and_then(|text| text.trim().parse::<u32>().ok()) else {
            return match text {
                Some(_) => Err(FilesError::Missing(issuing)),
                None => Ok(None),
            };
        };
        let mut trusted = Vec::new();
        // At most one before it and one after it exist.
        for number in number.saturating_sub(1)..=number + 1 {
            let path = self.certificate_file(number);
            let Some(pem) = read_at_most(&path, PEM_BYTES_MAX).map_err(failed("read", &path))? else {
                continue;
            };
            let path = self.key_file(number);
            let key = read_private(&path).map_err(failed("read", &path))?;
            let key = key.ok_or_else(|| FilesError::Missing(path.clone()))?;
            let read = SigningAuthority::read(number, pem, &key);
            trusted.push(read.map_err(|source| FilesError::Malformed { path, source })?);
        }
        let authorities = Authorities {
            trusted,
            issuing: number,
        };
        match authorities.issuer() {
            Some(_) => Ok(Some(authorities)),
            None => Err(FilesError::Missing(self.certificate_file(number))),
        }
    }

    /// Adds an authority to those that are trusted.
    pub fn add(&self, authority: &SigningAuthority) -> Result<(), FilesError> {
        let path = self.key_file(authority.number);
        write(&path, &authority.key_pem(), 0o600)?;
        write(&self.certificate_file(authority.number), &authority.pem, 0o644)
    }

    /// Says which authority signs from now on, and writes the bundle.
    pub fn issue_from(&self, number: u32) -> Result<Authorities, FilesError> {
        write(&self.issuing_file(), &format!("{number}\n"), 0o644)?;
        self.write_bundle()
    }

    /// Removes the authorities before this one.
    pub fn drop_before(&self, number: u32) -> Result<Authorities, FilesError> {
        for old in number.saturating_sub(AUTHORITIES_MAX as u32)..number {
            for path in [self.certificate_file(old), self.key_file(old)] {
                match std::fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("remove", &path)(source));
                    }
                    _ => {}
                }
            }
        }
        self.write_bundle()
    }

    /// Writes the bundle of what is trusted now.
    pub fn write_bundle(&self) -> Result<Authorities, FilesError> {
        let authorities = self.read()?.ok_or_else(|| FilesError::Missing(self.issuing_file()))?;
        write(&self.bundle_file(), &authorities.bundle(), 0o644)?;
        Ok(authorities)
    }

    /// Makes the first authority when there is none; says whether it did.
    pub fn ensure(&self, now: UtcMillis) -> Result<(Authorities, bool), FilesError> {
        if let Some(found) = self.read()? {
            return Ok((found, false));
        }
        let made = std::fs::create_dir_all(&self.0);
        made.map_err(failed("make the folder", &self.0))?;
        let path = self.certificate_file(1);
        let authority = SigningAuthority::make(1, now).map_err(|source| FilesError::Malformed { path, source })?;
        self.add(&authority)?;
        Ok((self.issue_from(1)?, true))
    }

    /// Writes certificate and key of whoever owns the home.
    pub fn write_operator(&self, certificate: &str, key: &str) -> Result<(), FilesError> {
        write(&self.operator_file(), &format!("{certificate}{key}"), 0o600)
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), FilesError> {
    replace(path, text.as_bytes(), mode).map_err(failed("write", path))
}

fn failed<'path>(verb: &'static str, path: &'path Path) -> impl FnOnce(io::Error) -> FilesError + 'path {
    move |source| FilesError::File {
        verb,
        path: path.to_owned(),
        source,
    }
}
