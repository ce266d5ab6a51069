//! The other side: TLS as a client of this installation.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

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
