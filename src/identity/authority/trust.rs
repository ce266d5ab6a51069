//! Who is let in: the check of a peer's certificate, in the handshake and for as long as its connection lasts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError, SignatureScheme};

use crate::domain::time::UtcMillis;
use crate::storage::batch::Op;
use crate::storage::record::certificate::CertificateRecord;

use super::name::{Identity, IdentityKind};

/// Why a peer is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefused {
    /// It showed no certificate, or none that can be read.
    #[error("it showed no certificate that can be read")]
    Unreadable,
    /// The certificate names nobody, or several.
    #[error("its certificate does not name one identity of this installation")]
    Nameless,
    /// The certificate names something that this listener is not for.
    #[error("its certificate is of a kind that this listener is not for")]
    Kind,
    /// The store knows no such certificate.
    #[error("its certificate is not one that was issued here")]
    Unknown,
    /// It was taken back.
    #[error("its certificate was revoked")]
    Revoked,
    /// Its time has passed.
    #[error("its certificate has expired")]
    Expired,
    /// Its authority is not trusted any more.
    #[error("its certificate is of an authority that is not trusted any more")]
    Authority,
}

/// Who is on the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Whose certificate it showed.
    pub identity: Identity,
    /// Its serial number.
    pub serial: [u8; 16],
}

/// What is known of certificates: replaced whole after each change.
#[derive(Debug, Default)]
pub struct Trust {
    /// By serial number.
    pub certificates: BTreeMap<[u8; 16], CertificateRecord>,
    /// Numbers of the authorities that are trusted.
    pub authorities: Vec<u32>,
}

impl Trust {
    /// Until when a certificate is good, or why it is not.
    pub fn admit(&self, serial: [u8; 16], now: UtcMillis) -> Result<UtcMillis, PeerRefused> {
        let record = self.certificates.get(&serial).ok_or(PeerRefused::Unknown)?;
        if record.revoked_at.is_some() {
            return Err(PeerRefused::Revoked);
        }
        if !self.authorities.contains(&record.authority) {
            return Err(PeerRefused::Authority);
        }
        if record.not_after <= now.0 {
            return Err(PeerRefused::Expired);
        }
        Ok(UtcMillis(record.not_after))
    }

    /// What is known once these are committed.
    pub fn take_in(&mut self, ops: &[Op]) {
        for op in ops {
            match op {
                Op::CertificatePut(record) => drop(self.certificates.insert(record.serial, record.clone())),
                Op::CertificateRemove(serial) => drop(self.certificates.remove(serial)),
                _ => {}
            }
        }
    }
}

/// Reads who a certificate names. The chain is not its business.
pub fn peer_of(certificate: &CertificateDer<'_>) -> Result<Peer, PeerRefused> {
    let read = webpki::EndEntityCert::try_from(certificate).map_err(|_| PeerRefused::Unreadable)?;
    let mut names = read.valid_uri_names();
    let (first, second) = (names.next(), names.next());
    let identity = first.filter(|_| second.is_none()).and_then(Identity::from_uri);
    Ok(Peer {
        identity: identity.ok_or(PeerRefused::Nameless)?,
        serial: read.serial().try_into().map_err(|_| PeerRefused::Unknown)?,
    })
}

/// Checks clients in the handshake: the chain as the library does, then who it is and whether that still counts.
#[derive(Debug)]
pub(super) struct IdentityVerifier {
    pub(super) chain: Arc<dyn ClientCertVerifier>,
    pub(super) trust: Arc<ArcSwap<Trust>>,
    pub(super) kinds: &'static [IdentityKind],
}

impl ClientCertVerifier for IdentityVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let admitted = peer_of(end_entity).and_then(|peer| {
            if !self.kinds.contains(&peer.identity.kind) {
                return Err(PeerRefused::Kind);
            }
            self.trust
                .load()
                .admit(peer.serial, UtcMillis(now.as_secs().saturating_mul(1000)))
        });
        match admitted {
            Ok(_) => Ok(verified),
            Err(why) => Err(TlsError::InvalidCertificate(match why {
                PeerRefused::Unreadable => CertificateError::BadEncoding,
                PeerRefused::Revoked => CertificateError::Revoked,
                PeerRefused::Expired => CertificateError::Expired,
                PeerRefused::Unknown | PeerRefused::Authority => CertificateError::UnknownIssuer,
                PeerRefused::Nameless | PeerRefused::Kind => CertificateError::ApplicationVerificationFailure,
            })),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
