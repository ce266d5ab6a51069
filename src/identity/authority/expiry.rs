//! When certificates end, and from when on that has to be told.
//!
//! The daemon renews its own and the operator's; every other one ends unless a person does something, and nobody looks
//! at a certificate before it has. **Units**: milliseconds since 1970.

use std::collections::BTreeMap;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};

use crate::domain::time::UtcMillis;
use crate::storage::record::certificate::CertificateRecord;

use super::name::Identity;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Whoever is given a certificate for less has it for one occasion, and nobody waits for the next one.
const WATCHED_LIFE_MS: u64 = 7 * DAY_MS;
/// The longest notice of a certificate that a person has to replace.
const NOTICE_MS: u64 = 14 * DAY_MS;
/// Of an authority: its place is taken in three steps, between which clients are given new files.
const AUTHORITY_NOTICE_MS: u64 = 90 * DAY_MS;

/// What kind of certificate ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateKind {
    /// The daemon's own, which it renews itself.
    Own,
    /// The authority that signs.
    Authority,
    /// One that was given out, such as to nginx.
    Issued,
    /// Of the files of `gateway.tls.certificate`.
    Files,
}

impl CertificateKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Own, Self::Authority, Self::Issued, Self::Files];

    /// The word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Authority => "authority",
            Self::Issued => "issued",
            Self::Files => "files",
        }
    }

    /// What to do about its end.
    pub fn action(self) -> &'static str {
        match self {
            Self::Own => "`openclaw tls renew` makes it anew; it should have been renewed by itself",
            Self::Authority => "`openclaw tls rotate` puts another authority in its place, in three steps",
            Self::Issued => {
                "`openclaw tls issue` makes the next one; `openclaw tls revoke` ends the watch over one that nobody uses"
            }
            Self::Files => "put a newer one into the file; it is shown from the next connection on",
        }
    }
}

/// A certificate with its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Of which kind.
    pub kind: CertificateKind,
    /// Whose, for people.
    pub of: String,
    /// Its beginning.
    pub not_before: UtcMillis,
    /// Its end.
    pub not_after: UtcMillis,
}

impl Ending {
    /// Milliseconds that are left; fewer than none when it has ended.
    pub fn left_ms(&self, now: UtcMillis) -> i64 {
        i64::try_from(self.not_after.since(now)).unwrap_or(i64::MAX)
            - i64::try_from(now.since(self.not_after)).unwrap_or(i64::MAX)
    }

    /// Whether somebody has to be told: in the last sixth of its life, and no earlier than its kind needs. What renews
    /// itself does so long before.
    pub fn is_near(&self, now: UtcMillis) -> bool {
        let longest = match self.kind {
            CertificateKind::Authority => AUTHORITY_NOTICE_MS,
            _ => NOTICE_MS,
        };
        let notice = (self.not_after.since(self.not_before) / 6).min(longest);
        self.not_after.since(now) < notice
    }
}

/// Those of the certificates that were given out for whose end a person has to do something: of each identity the one
/// that lasts longest, unless it was for an occasion.
pub fn given_out<'of>(records: impl IntoIterator<Item = &'of CertificateRecord>) -> Vec<Ending> {
    let mut last: BTreeMap<&str, &CertificateRecord> = BTreeMap::new();
    let daemon = Identity::daemon().to_string();
    for record in records {
        let lasts = record.not_after.saturating_sub(record.not_before);
        if record.revoked_at.is_some() || lasts < WATCHED_LIFE_MS || record.identity == daemon {
            continue;
        }
        let known = last.entry(&record.identity).or_insert(record);
        if record.not_after > known.not_after {
            *known = record;
        }
    }
    let endings = last.into_iter().map(|(identity, record)| Ending {
        kind: CertificateKind::Issued,
        of: identity.to_owned(),
        not_before: UtcMillis(record.not_before),
        not_after: UtcMillis(record.not_after),
    });
    endings.collect()
}

/// When a certificate begins and ends; none when that cannot be read.
///
/// The library keeps the times to itself, but says them when it refuses a certificate for them, before it looks at
/// anything else. So it is asked at the beginning and at the end of time.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<(UtcMillis, UtcMillis)> {
    let read = webpki::EndEntityCert::try_from(certificate).ok()?;
    let refused = |at: Duration| {
        let at = UnixTime::since_unix_epoch(at);
        let usage = webpki::KeyUsage::server_auth();
        let verified = read.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[], &[], at, usage, None, None);
        verified.err()
    };
    let millis = |at: UnixTime| UtcMillis(at.as_secs().saturating_mul(1000));
    let not_before = match refused(Duration::ZERO) {
        Some(webpki::Error::CertNotValidYet { not_before, .. }) => millis(not_before),
        _ => UtcMillis(0),
    };
    match refused(Duration::from_secs(u64::MAX)) {
        Some(webpki::Error::CertExpired { not_after, .. }) => Some((not_before, millis(not_after))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::authority::client::certificates;
    use crate::identity::authority::issue::{SigningAuthority, Wanted};
    use crate::runtime::entropy::Entropy;

    const START: UtcMillis = UtcMillis(1_800_000_000_000);

    #[test]
    fn the_times_of_a_leaf_and_of_an_authority_are_read() {
        let authority = SigningAuthority::make(1, START).expect("made");
        let read = |pem: &str| validity(&certificates("it", pem).expect("readable")[0]);
        let (begins, ends) = read(&authority.pem).expect("times");
        assert_eq!(begins, UtcMillis(START.0 - 300_000));
        assert_eq!(ends, START.plus_ms(5 * 366 * DAY_MS));
        let wanted = Wanted {
            identity: "service/nginx".parse().expect("an identity"),
            life_ms: DAY_MS,
            dns: Vec::new(),
        };
        let issued = authority.issue(&wanted, START, &Entropy::system()).expect("issued");
        let record = issued.record;
        let expected = (UtcMillis(record.not_before), UtcMillis(record.not_after));
        assert_eq!(read(&issued.pem), Some(expected));
        assert_eq!(validity(&CertificateDer::from(vec![7])), None);
    }

    #[test]
    fn an_end_is_told_in_the_last_sixth_of_a_life_and_no_earlier_than_its_kind_needs() {
        let check = |kind: CertificateKind, life_days: u64, left_days: u64, expected: bool| {
            let ending = Ending {
                kind,
                of: "it".into(),
                not_before: START,
                not_after: START.plus_ms(life_days * DAY_MS),
            };
            let now = UtcMillis(ending.not_after.0 - left_days * DAY_MS);
            assert_eq!(ending.is_near(now), expected, "{kind:?} {life_days} {left_days}");
            assert_eq!(ending.left_ms(now), (left_days * DAY_MS).cast_signed());
            assert!(ending.is_near(ending.not_after.plus_ms(DAY_MS)), "it has ended");
            assert!(ending.left_ms(ending.not_after.plus_ms(1)) < 0);
        };
        check(CertificateKind::Issued, 30, 5, false);
        check(CertificateKind::Issued, 30, 4, true);
        check(CertificateKind::Issued, 366, 14, false);
        check(CertificateKind::Issued, 366, 13, true);
        check(CertificateKind::Files, 90, 13, true);
        check(CertificateKind::Files, 6, 1, false);
        check(CertificateKind::Authority, 1830, 90, false);
        check(CertificateKind::Authority, 1830, 89, true);
    }

    #[test]
    fn of_each_identity_the_last_certificate_counts_and_none_that_was_for_an_occasion() {
        let record = |serial: u8, identity: &str, life_days: u64, revoked: bool| CertificateRecord {
            serial: [serial; 16],
            identity: identity.into(),
            authority: 1,
            fingerprint: [0; 32],
            not_before: START.0,
            not_after: START.plus_ms(life_days * DAY_MS).0,
            revoked_at: revoked.then_some(START.0),
        };
        let records = [
            record(1, "service/nginx", 30, false),
            record(2, "service/nginx", 60, false),
            record(3, "service/nginx", 90, true),
            record(4, "admin/alice", 6, false),
            record(5, "admin/bob", 7, false),
            record(6, "service/daemon", 30, false),
        ];
        let found: Vec<(String, u64)> = given_out(&records)
            .into_iter()
            .map(|ending| (ending.of, ending.not_after.since(START) / DAY_MS))
            .collect();
        assert_eq!(found, [("admin/bob".to_owned(), 7), ("service/nginx".to_owned(), 60)]);
    }
}
