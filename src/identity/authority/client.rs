//! The other side: TLS as a client of this installation.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

use crate::runtime::file::{read_at_most, read_private};

use super::files::{AuthorityFiles, PEM_BYTES_MAX};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A text holds no certificate or key.
    #[error("read {what}")]
    Pem {
        /// Which text.
        what: &'static str,
        /// Why not.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// What was read cannot be used.
    #[error("use the certificates")]
    Tls(#[source] rustls::Error),
    /// A file of the folder cannot be read.
    #[error("read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What a client of this machine has in the authority's folder: what it trusts, and what it shows.
#[derive(Debug)]
pub struct Credentials {
    /// The authorities, as one text; empty before the first was made.
    pub bundle: String,
    /// The operator's certificate with its key; none where there is none. Who can go without it passes over the error.
    pub own: Result<Option<String>, ClientError>,
}

impl Credentials {
    /// Reads them.
    ///
    /// **Errors**: the authorities cannot be read.
    pub fn read(folder: &Path) -> Result<Self, ClientError> {
        let files = AuthorityFiles::new(folder.to_owned());
        let (path, own) = (files.bundle_file(), files.operator_file());
        let bundle = read_at_most(&path, PEM_BYTES_MAX).map_err(|source| ClientError::File { path, source })?;
        Ok(Self {
            bundle: bundle.unwrap_or_default(),
            own: read_private(&own).map_err(|source| ClientError::File { path: own, source }),
        })
    }
}

/// All certificates of a text.
pub(super) fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    read.map_err(|source| ClientError::Pem { what, source })
}

/// The key of a text.
pub(super) fn key(what: &'static str, pem: &str) -> Result<PrivateKeyDer<'static>, ClientError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|source| ClientError::Pem { what, source })
}

/// The roots of a bundle.
pub(super) fn roots(bundle: &str) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the trusted certificates", bundle)? {
        roots.add(certificate).map_err(ClientError::Tls)?;
    }
    Ok(roots)
}

/// TLS 1.3 towards servers of this installation: `bundle` are its authorities, `own` certificate and key in one text;
/// without it no certificate is shown. There is no way to turn the check of the server off.
pub fn client_config(bundle: &str, own: Option<&str>) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots(bundle)?);
    match own {
        None => Ok(builder.with_no_client_auth()),
        Some(own) => builder
            .with_client_auth_cert(
                certificates("the certificate", own)?,
                key("the key of the certificate", own)?,
            )
            .map_err(ClientError::Tls),
    }
}

/// The same with TLS 1.2 alone, for a try whether a server takes it.
pub fn old_client_config(bundle: &str, own: &str) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots(bundle)?)
        .with_client_auth_cert(
            certificates("the certificate", own)?,
            key("the key of the certificate", own)?,
        )
        .map_err(ClientError::Tls)
}
