//! The authority over time, with a clock that stands until it is set.

use futures_util::FutureExt as _;

use super::*;
use crate::runtime::bus::Bus;
use crate::runtime::committer::Committer;

const START: UtcMillis = UtcMillis(1_800_000_000_000);

struct Stage {
    folder: tempfile::TempDir,
    store: Store,
    clock: Clock,
    audit: AuditLog,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let committer = Committer::start(store.clone(), Bus::default()).expect("starts");
        let clock = Clock::manual(START);
        let audit = AuditLog::open(
            store.clone(),
            committer,
            clock.clone(),
            &Entropy::system(),
            folder.path(),
        );
        Self {
            audit: audit.expect("opens"),
            folder,
            store,
            clock,
        }
    }

    async fn authority(&self) -> Authority {
        let folder = self.folder.path().join("tls");
        let opened = Authority::open(
            &folder,
            Vec::new(),
            self.store.clone(),
            self.audit.clone(),
            self.clock.clone(),
            Entropy::system(),
        );
        opened.await.expect("opens")
    }

    fn operator(&self) -> CertificateDer<'static> {
        let text = read_private(&self.folder.path().join("tls/operator.pem"))
            .expect("private")
            .expect("there");
        certificates("it", &text).expect("readable").remove(0)
    }

    fn admit(&self, authority: &Authority) -> Result<String, PeerRefused> {
        authority
            .admit(Some(&self.operator()))
            .map(|peer| peer.identity.to_string())
    }
}

fn own_serial(authority: &Authority) -> [u8; 16] {
    authority.0.served.load().own.record.serial
}

fn admin(name: &str, life_ms: u64) -> Wanted {
    Wanted {
        identity: name.parse().expect("an identity"),
        life_ms,
        dns: Vec::new(),
    }
}

#[tokio::test]
async fn certificates_are_renewed_at_two_thirds_of_their_life_and_not_before() {
    let stage = Stage::new();
    let authority = stage.authority().await;
    let first = own_serial(&authority);
    assert_eq!(stage.admit(&authority).as_deref(), Ok("admin/operator"));
    authority.renew_due().await.expect("looked");
    stage.clock.set(START.plus_ms(OWN_LIFE_MS / 2));
    authority.renew_due().await.expect("looked");
    assert_eq!(own_serial(&authority), first, "it is young");
    let operator = stage.operator();
    stage.clock.set(START.plus_ms(OWN_LIFE_MS / 3 * 2));
    authority.renew_due().await.expect("renewed");
    assert_ne!(own_serial(&authority), first);
    assert_ne!(stage.operator(), operator);
    assert_eq!(stage.admit(&authority).as_deref(), Ok("admin/operator"));
    let end = |kind: CertificateKind| {
        let endings = authority.endings();
        endings
            .into_iter()
            .find(|ending| ending.kind == kind)
            .expect("there")
            .not_after
    };
    assert!(end(CertificateKind::Own) > START.plus_ms(OWN_LIFE_MS));
    assert!(end(CertificateKind::Authority) > START.plus_ms(5 * 365 * 24 * 3_600_000));
    assert!(authority.until_renewal() > Duration::from_secs(3600));
    stage.clock.set(START.plus_ms(OWN_LIFE_MS));
    assert_eq!(authority.admit(Some(&operator)), Err(PeerRefused::Expired));
}

#[tokio::test]
async fn what_was_revoked_or_is_not_known_is_refused_also_by_the_next_life() {
    let stage = Stage::new();
    let authority = stage.authority().await;
    let issued = authority
        .issue("test", admin("admin/alice", 60_000))
        .await
        .expect("issued");
    let shown = CertificateDer::from(issued.der.clone());
    let peer = authority.admit(Some(&shown)).expect("let in");
    assert_eq!(
        (peer.identity.to_string().as_str(), peer.serial),
        ("admin/alice", issued.record.serial)
    );
    let mut lapse = Box::pin(authority.lapse(peer.serial));
    let waits = Duration::from_millis(1);
    assert!(tokio::time::timeout(waits, &mut lapse).await.is_err(), "it is good");
    authority.revoke("test", peer.serial).await.expect("revoked");
    assert_eq!(tokio::time::timeout(waits, lapse).await, Ok(PeerRefused::Revoked));
    assert_eq!(authority.admit(Some(&shown)), Err(PeerRefused::Revoked));
    let again = authority.revoke("test", peer.serial).await;
    assert!(matches!(again, Err(AuthorityError::IsRevoked(_))), "{again:?}");
    let unknown = authority.revoke("test", [1; 16]).await;
    assert!(matches!(unknown, Err(AuthorityError::NotFound(_))), "{unknown:?}");
    drop(authority);
    let authority = stage.authority().await;
    assert_eq!(authority.admit(Some(&shown)), Err(PeerRefused::Revoked));

    // Signed by the right authority, and of no record: a store from before it.
    let files = AuthorityFiles::new(stage.folder.path().join("tls"));
    let authorities = files.read().expect("read").expect("there");
    let signed = authorities
        .issuer()
        .expect("signs")
        .issue(&admin("admin/x", 60_000), START, &Entropy::system());
    let stray = CertificateDer::from(signed.expect("signed").der);
    assert_eq!(authority.admit(Some(&stray)), Err(PeerRefused::Unknown));
    assert_eq!(authority.admit(None), Err(PeerRefused::Unreadable));
}

#[tokio::test]
async fn a_revocation_whose_asker_leaves_holds_and_the_operators_own_is_replaced_with_it() {
    let stage = Stage::new();
    let authority = stage.authority().await;
    let before = stage.operator();
    let serial = authority.admit(Some(&before)).expect("let in").serial;
    let lapse = authority.lapse(serial);
    let asked = authority.revoke("test", serial).now_or_never();
    assert!(asked.is_none(), "it waits for the disk: {asked:?}");
    let lapsed = tokio::time::timeout(Duration::from_secs(20), lapse).await;
    assert_eq!(lapsed, Ok(PeerRefused::Revoked));
    // By the moment at which its connections end the next one lies in the folder.
    assert_ne!(stage.operator(), before);
    assert_eq!(stage.admit(&authority).as_deref(), Ok("admin/operator"));
    assert_eq!(authority.admit(Some(&before)), Err(PeerRefused::Revoked));
    drop(authority);
    let authority = stage.authority().await;
    assert_eq!(stage.admit(&authority).as_deref(), Ok("admin/operator"));
    assert_eq!(authority.admit(Some(&before)), Err(PeerRefused::Revoked));
}

#[tokio::test]
async fn an_authority_is_replaced_in_three_steps_and_nobody_is_shut_out_before_the_last() {
    let stage = Stage::new();
    let authority = stage.authority().await;
    let old = authority
        .issue("test", admin("admin/old", 3_600_000))
        .await
        .expect("issued");
    let old = CertificateDer::from(old.der);
    let view = async |step: Option<Step>| {
        let view = authority.rotate("test", step).await.expect("rotated");
        (view.trusted, view.issuing, view.next)
    };
    let early = authority.rotate("test", Some(Step::Drop)).await;
    assert!(matches!(early, Err(AuthorityError::Step(Step::Trust))), "{early:?}");
    assert_eq!(view(Some(Step::Trust)).await, (vec![1, 2], 1, Step::Issue));
    let bundle = || std::fs::read_to_string(stage.folder.path().join("tls/internal.pem")).expect("a bundle");
    assert_eq!(bundle().matches("BEGIN CERTIFICATE").count(), 2);
    assert!(authority.admit(Some(&old)).is_ok());
    assert_eq!(view(None).await, (vec![1, 2], 2, Step::Drop));
    assert!(authority.admit(Some(&old)).is_ok(), "both are trusted");
    assert_eq!(stage.admit(&authority).as_deref(), Ok("admin/operator"));
    // Wherever a life ends, the next one goes on from there.
    let next = stage.authority().await;
    assert_eq!((next.view().trusted, next.view().issuing), (vec![1, 2], 2));
    assert_eq!(view(Some(Step::Drop)).await, (vec![2], 2, Step::Trust));
    assert_eq!(authority.admit(Some(&old)), Err(PeerRefused::Authority));
    assert_eq!(
        stage.admit(&authority).as_deref(),
        Ok("admin/operator"),
        "it was issued anew by the second"
    );
    assert_eq!(bundle().matches("BEGIN CERTIFICATE").count(), 1);
    assert!(stage.audit.verify().expect("read").is_sound());
}

#[tokio::test]
async fn the_names_of_this_machine_and_of_the_daemon_are_not_given_out() {
    let stage = Stage::new();
    let authority = stage.authority().await;
    let check = async |identity: &str, dns: &[&str], life_ms: u64, expected: bool| {
        let wanted = Wanted {
            dns: dns.iter().map(ToString::to_string).collect(),
            ..admin(identity, life_ms)
        };
        let issued = authority.issue("test", wanted).await;
        assert_eq!(issued.is_ok(), expected, "{identity} {dns:?} {life_ms}");
        let is_refused = matches!(issued, Err(AuthorityError::Terms(_)));
        assert_eq!(is_refused, !expected, "{identity} {dns:?} {life_ms}");
    };
    check("service/nginx", &["proxy.example"], 1_000, true).await;
    check("service/nginx", &["*.proxy.example"], 1_000, true).await;
    check("service/x", &["²Ý Ú"], 1_000, false).await;
    check("service/x", &[""], 1_000, false).await;
    check("node/a", &["10.0.0.7"], LIFE_MS_MAX, true).await;
    check("service/daemon", &[], 1_000, false).await;
    check("service/x", &["localhost"], 1_000, false).await;
    check("service/x", &["LOCALHOST"], 1_000, false).await;
    check("service/x", &["127.0.0.1"], 1_000, false).await;
    check("service/x", &["::1"], 1_000, false).await;
    check("service/x", &[], 0, false).await;
    check("service/x", &[], LIFE_MS_MAX + 1, false).await;
}
