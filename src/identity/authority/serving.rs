//! What the daemon's listeners show, and whom they let in by a certificate.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;

use crate::domain::time::UtcMillis;

use super::client::{ClientError, certificates, key, roots};
use super::issue::{IssueError, Issued};
use super::name::IdentityKind;
use super::trust::{IdentityVerifier, Trust};

/// Who may administer.
const OPERATORS: &[IdentityKind] = &[IdentityKind::Admin];
/// Who may ask where certificates are asked for: whoever this installation knows.
const VISITORS: &[IdentityKind] = &[IdentityKind::Admin, IdentityKind::Service, IdentityKind::Node];

/// Why new certificates are not put to use.
#[derive(Debug, thiserror::Error)]
pub enum ShownError {
    /// The daemon's own certificate would not pass the check of its clients.
    #[error("check the new certificate")]
    Check(#[source] IssueError),
    /// A certificate or key cannot be used.
    #[error("use the new certificates")]
    Use(#[source] ClientError),
}

/// What listeners are made of; replaced whole with each new certificate or authority.
#[derive(Debug)]
pub struct Shown {
    /// TLS of the operators' listener.
    pub operators: Arc<ServerConfig>,
    /// The daemon's own certificate with its key.
    pub own: Arc<CertifiedKey>,
    /// Lets in whoever shows a good certificate of this installation.
    pub visitors: Arc<dyn ClientCertVerifier>,
}

/// Turns sessions that could be resumed off: a resumed one is not checked again, so a revoked certificate could come
/// back by its ticket.
pub fn forget_sessions(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
}

/// Certificate and key of two texts, ready to be shown.
///
/// **Errors**: a text holds none, or the key is of another certificate.
pub fn certified(certificate_pem: &str, key_pem: &str) -> Result<CertifiedKey, ClientError> {
    let chain = certificates("the certificate", certificate_pem)?;
    let key = key("the key of the certificate", key_pem)?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(ClientError::Tls)
}

/// Makes what is shown, after the check that a client of the daemon will make.
pub(super) fn shown(
    trust: &Arc<ArcSwap<Trust>>,
    bundle: &str,
    own: &Issued,
    now: UtcMillis,
) -> Result<Shown, ShownError> {
    let roots = Arc::new(roots(bundle).map_err(ShownError::Use)?);
    let der = CertificateDer::from(own.der.clone());
    let at = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
    let read = webpki::EndEntityCert::try_from(&der);
    read.and_then(|read| {
        let usage = webpki::KeyUsage::server_auth();
        read.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &roots.roots, &[], at, usage, None, None)
            .map(drop)
    })
    .map_err(|error| ShownError::Check(IssueError::Check(error)))?;
    let failed = |error: rustls::Error| ShownError::Use(ClientError::Tls(error));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| failed(rustls::Error::General(error.to_string())))?;
    let verifier = |kinds: &'static [IdentityKind]| {
        Arc::new(IdentityVerifier {
            chain: chain.clone(),
            trust: trust.clone(),
            kinds,
        })
    };
    let mut operators = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(failed)?
        .with_client_cert_verifier(verifier(OPERATORS))
        .with_single_cert(
            certificates("the new certificate", &own.pem).map_err(ShownError::Use)?,
            key("the new key", &own.key_pem).map_err(ShownError::Use)?,
        )
        .map_err(failed)?;
    forget_sessions(&mut operators);
    operators.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Shown {
        operators: Arc::new(operators),
        own: Arc::new(certified(&own.pem, &own.key_pem).map_err(ShownError::Use)?),
        visitors: verifier(VISITORS),
    })
}
