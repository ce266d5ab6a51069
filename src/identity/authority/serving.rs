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

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        SanType, SerialNumber,
    };
    use rustls::pki_types::ServerName;
    use rustls::{CertificateError, Error};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::super::client::client_config;
    use super::super::issue::{SigningAuthority, Wanted};
    use super::super::name::Identity;
    use super::super::trust::peer_of;
    use super::*;
    use crate::runtime::entropy::Entropy;
    use crate::storage::record::certificate::CertificateRecord;

    const START: UtcMillis = UtcMillis(1_800_000_000_000);
    const HOUR_MS: u64 = 3_600_000;

    fn wanted(identity: &str) -> Wanted {
        Wanted {
            identity: identity.parse().expect("an identity"),
            life_ms: HOUR_MS,
            dns: vec!["localhost".into()],
        }
    }

    /// The operator's certificate, signed by the authority, for such uses.
    fn for_uses(authority: &SigningAuthority, uses: Vec<ExtendedKeyUsagePurpose>) -> CertificateDer<'static> {
        let mut issuer = CertificateParams::default();
        // Without the name that the library gives by itself.
        issuer.distinguished_name = DistinguishedName::new();
        issuer
            .distinguished_name
            .push(DnType::CommonName, "OpenClaw internal authority 1");
        issuer.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let signing = KeyPair::from_pem(&authority.key_pem()).expect("a key");
        let mut params = CertificateParams::default();
        let uri = Identity::operator().uri();
        let uri = uri.as_str().try_into().expect("ASCII");
        params.subject_alt_names.push(SanType::URI(uri));
        params.serial_number = Some(SerialNumber::from_slice(&[0x41; 16]));
        params.extended_key_usages = uses;
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &Issuer::new(issuer, signing)).expect("signed");
        signed.der().clone()
    }

    #[test]
    fn a_certificate_that_is_not_for_clients_lets_nobody_in_whoever_it_names() {
        let authority = SigningAuthority::make(1, START).expect("made");
        let entropy = Entropy::system();
        let own = Wanted {
            identity: Identity::daemon(),
            ..wanted("service/x")
        };
        let own = authority.issue(&own, START, &entropy).expect("issued");
        let check = |uses: Vec<ExtendedKeyUsagePurpose>, expected: bool| {
            let der = for_uses(&authority, uses.clone());
            let serial = peer_of(&der).expect("it names the operator").serial;
            let record = CertificateRecord {
                serial,
                identity: Identity::operator().to_string(),
                not_before: 0,
                not_after: START.plus_ms(HOUR_MS).0,
                ..own.record.clone()
            };
            // Known, of a trusted authority, and in its time: only its use is wrong.
            let trust = Trust {
                certificates: [(serial, record)].into(),
                authorities: vec![1],
            };
            let trust = Arc::new(ArcSwap::from_pointee(trust));
            let shown = shown(&trust, &authority.pem, &own, START).expect("shown");
            let at = UnixTime::since_unix_epoch(Duration::from_millis(START.0));
            let verified = shown.visitors.verify_client_cert(&der, &[], at);
            match verified {
                Ok(_) => assert!(expected, "{uses:?} was let in"),
                Err(Error::InvalidCertificate(
                    CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
                )) => assert!(!expected, "{uses:?} was refused"),
                Err(error) => panic!("{uses:?}: {error}"),
            }
        };
        check(vec![ExtendedKeyUsagePurpose::ClientAuth], true);
        check(vec![ExtendedKeyUsagePurpose::ServerAuth], false);
        check(vec![ExtendedKeyUsagePurpose::CodeSigning], false);
    }

    #[tokio::test]
    async fn a_clients_certificate_serves_nothing() {
        let now = crate::runtime::clock::Clock::system().now();
        let authority = SigningAuthority::make(1, now).expect("made");
        let check = async |identity: &str, expected: bool| {
            let issued = authority
                .issue(&wanted(identity), now, &Entropy::system())
                .expect("issued");
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let server = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&TLS13])
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(
                    certificates("it", &issued.pem).expect("read"),
                    key("its key", &issued.key_pem).expect("read"),
                )
                .expect("usable");
            let client = client_config(&authority.pem, None).expect("usable");
            let (ours, theirs) = tokio::io::duplex(16 * 1024);
            let name = ServerName::try_from("localhost").expect("a name");
            let (_, shaken) = tokio::join!(
                TlsAcceptor::from(Arc::new(server)).accept(theirs),
                TlsConnector::from(Arc::new(client)).connect(name, ours),
            );
            match shaken {
                Ok(_) => assert!(expected, "{identity} served"),
                Err(error) => {
                    assert!(!expected, "{identity}: {error}");
                    assert!(format!("{error:?}").contains("InvalidPurpose"), "{identity}: {error:?}");
                }
            }
        };
        check("service/nginx", true).await;
        check("node/far", true).await;
        check("admin/alice", false).await;
    }
}
