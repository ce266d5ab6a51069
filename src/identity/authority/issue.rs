//! Making authorities and certificates. P-256 keys; serial numbers of 128 bits; the use stands in each certificate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use time::OffsetDateTime;

use crate::domain::time::UtcMillis;
use crate::runtime::entropy::Entropy;
use crate::storage::record::certificate::CertificateRecord;

use super::name::{Identity, IdentityKind};

/// Life of an authority.
const AUTHORITY_DAYS: u64 = 5 * 366;
/// How far back a certificate begins: clocks of two machines differ.
const BACKDATED_MS: u64 = 5 * 60 * 1000;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The maker of certificates refused.
    #[error("make a certificate")]
    Make(#[source] rcgen::Error),
    /// The new certificate does not pass the check that others will make of it.
    #[error("check the new certificate")]
    Check(#[source] webpki::Error),
}

/// An authority that can sign.
#[derive(Debug)]
pub struct SigningAuthority {
    /// Counted from 1.
    pub number: u32,
    /// Its certificate.
    pub pem: String,
    key: KeyPair,
}

/// A certificate with its key.
pub struct Issued {
    /// What the store keeps of it.
    pub record: CertificateRecord,
    /// The certificate.
    pub pem: String,
    /// The certificate's bytes.
    pub der: Vec<u8>,
    /// Its key; a secret.
    pub key_pem: String,
}

/// What a certificate is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whose it is.
    pub identity: Identity,
    /// How long it lasts, in milliseconds.
    pub life_ms: u64,
    /// Further names of a server.
    pub dns: Vec<String>,
}

fn at(time: UtcMillis) -> OffsetDateTime {
    let seconds = i64::try_from(time.0 / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn authority_params(number: u32) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("OpenClaw internal authority {number}"));
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl SigningAuthority {
    /// A new authority.
    pub fn make(number: u32, now: UtcMillis) -> Result<Self, IssueError> {
        let key = KeyPair::generate().map_err(IssueError::Make)?;
        let mut params = authority_params(number);
        params.not_before = at(UtcMillis(now.0.saturating_sub(BACKDATED_MS)));
        params.not_after = at(now.plus_ms(AUTHORITY_DAYS * DAY_MS));
        let pem = params.self_signed(&key).map_err(IssueError::Make)?.pem();
        Ok(Self { number, pem, key })
    }

    /// The authority of these files.
    pub fn read(number: u32, pem: String, key_pem: &str) -> Result<Self, IssueError> {
        let key = KeyPair::from_pem(key_pem).map_err(IssueError::Make)?;
        Ok(Self { number, pem, key })
    }

    /// Its key; a secret.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Makes a certificate.
    pub fn issue(&self, wanted: &Wanted, now: UtcMillis, entropy: &Entropy) -> Result<Issued, IssueError> {
        let mut serial = [0; 16];
        entropy.fill(&mut serial);
        // A serial number is positive and has no zero in front: then it always has 16 bytes.
        serial[0] = (serial[0] & 0x3f) | 0x40;
        let (not_before, not_after) = (
            UtcMillis(now.0.saturating_sub(BACKDATED_MS)),
            now.plus_ms(wanted.life_ms),
        );
        let mut params = CertificateParams::new(wanted.dns.clone()).map_err(IssueError::Make)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, wanted.identity.to_string());
        params.distinguished_name = name;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        (params.not_before, params.not_after) = (at(not_before), at(not_after));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let uri = wanted.identity.uri();
        let uri = uri.as_str().try_into().map_err(IssueError::Make)?;
        params.subject_alt_names.push(SanType::URI(uri));
        let is_daemon = wanted.identity == Identity::daemon();
        if is_daemon {
            let localhost = "localhost".try_into().map_err(IssueError::Make)?;
            params.subject_alt_names.push(SanType::DnsName(localhost));
            for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
                params.subject_alt_names.push(SanType::IpAddress(address));
            }
        }
        params.extended_key_usages = match wanted.identity.kind {
            // Whoever administers serves nothing, and the daemon is nobody's client here.
            IdentityKind::Admin => vec![ExtendedKeyUsagePurpose::ClientAuth],
            IdentityKind::Service if is_daemon => vec![ExtendedKeyUsagePurpose::ServerAuth],
            IdentityKind::Service | IdentityKind::Node => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
        let key = KeyPair::generate().map_err(IssueError::Make)?;
        let issuer = Issuer::new(authority_params(self.number), &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(IssueError::Make)?;
        let der = certificate.der().to_vec();
        Ok(Issued {
            record: CertificateRecord {
                serial,
                identity: wanted.identity.to_string(),
                authority: self.number,
                fingerprint: *blake3::hash(&der).as_bytes(),
                not_before: not_before.0,
                not_after: not_after.0,
                revoked_at: None,
            },
            pem: certificate.pem(),
            der,
            key_pem: key.serialize_pem(),
        })
    }
}

/// When a certificate is to be made anew: at two thirds of its life, up to a twentieth of it earlier, so that those who
/// began together do not come together. `jitter` is from 0 to 1000.
pub fn renew_at(not_before: UtcMillis, not_after: UtcMillis, jitter: u64) -> UtcMillis {
    let life = not_after.since(not_before);
    let early = life / 20 * jitter.min(1000) / 1000;
    UtcMillis(not_before.0.saturating_add((life / 3 * 2).saturating_sub(early)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_or_a_little_earlier() {
        let check = |jitter: u64, expected: u64| {
            assert_eq!(
                renew_at(UtcMillis(1_000), UtcMillis(31_000), jitter),
                UtcMillis(expected),
                "{jitter}"
            );
        };
        check(0, 21_000);
        check(500, 20_250);
        check(1000, 19_500);
        check(u64::MAX, 19_500);
        assert_eq!(renew_at(UtcMillis(5), UtcMillis(5), 7), UtcMillis(5));
    }
}
