//! Keys against a real store, with a clock that stands until it is set.

use futures_util::FutureExt as _;

use super::*;
use crate::runtime::bus::Bus;

const START: UtcMillis = UtcMillis(1_000_000);

struct Stage {
    _folder: tempfile::TempDir,
    store: Store,
    clock: Clock,
    keyring: Keyring,
    audit: AuditLog,
    operator: Principal,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let committer = Committer::start(store.clone(), Bus::default()).expect("starts");
        let (clock, entropy) = (Clock::manual(START), Entropy::seeded(1));
        let audit = AuditLog::open(store.clone(), committer.clone(), clock.clone(), &entropy, folder.path());
        let audit = audit.expect("opens");
        let keyring = Keyring::open(store.clone(), committer, clock.clone(), entropy, audit.clone()).expect("opens");
        let operator = Principal {
            key: KeyId::new(START, 1),
            name: "operator".into(),
            scopes: [SCOPE_ALL.into()].into(),
            expires_at: None,
            secret_hash: [0; 32],
        };
        Self {
            _folder: folder,
            store,
            clock,
            keyring,
            audit,
            operator,
        }
    }

    fn wanted(name: &str, scopes: &[&str], expires_at: Option<UtcMillis>) -> NewKey {
        NewKey {
            name: name.into(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            expires_at,
        }
    }

    async fn key(&self, name: &str, scopes: &[&str], expires_at: Option<UtcMillis>) -> ApiKey {
        let made = self
            .keyring
            .mint(&self.operator, Self::wanted(name, scopes, expires_at));
        made.await.expect("made").0
    }

    fn is_valid(&self, key: &ApiKey) -> bool {
        self.keyring.check(&key.to_text()).is_ok()
    }

    fn actions(&self) -> Vec<String> {
        let rows = self.audit.rows(None, 100).expect("read");
        rows.iter().rev().map(|row| row.note.action.to_string()).collect()
    }
}

#[tokio::test]
async fn a_key_opens_its_own_scopes_and_a_wrong_secret_nothing() {
    let stage = Stage::new();
    let key = stage.key("ci", &["runs:read", "memory:*"], None).await;
    let principal = stage.keyring.check(&key.to_text()).expect("valid");
    let check = |scope: &str, expected: bool| assert_eq!(principal.may(scope), expected, "{scope}");
    check("runs:read", true);
    check("runs:write", false);
    check("memory:put", true);
    check("mem", false);
    let forged = ApiKey::new(key.id, [9; 32]).to_text();
    assert!(matches!(stage.keyring.check(&forged), Err(KeyError::NotValid)));
    let unknown = ApiKey::new(KeyId::new(UtcMillis(1), 1), [9; 32]).to_text();
    assert!(matches!(stage.keyring.check(&unknown), Err(KeyError::NotValid)));
    assert!(check_in(&stage.store, &key.to_text(), START).is_ok());
}

#[tokio::test]
async fn nobody_mints_or_takes_over_more_than_it_carries() {
    let stage = Stage::new();
    let weak = stage
        .key("weak", &["keys:*", "runs:read"], Some(UtcMillis(2_000_000)))
        .await;
    let weak = stage.keyring.check(&weak.to_text()).expect("valid");
    let strong = stage.key("strong", &["runs:*"], None).await;
    let soon = Some(UtcMillis(1_500_000));
    let check = async |scopes: &[&str], expires_at, expected: Option<Code>| {
        let made = stage.keyring.mint(&weak, Stage::wanted("x", scopes, expires_at)).await;
        assert_eq!(
            made.err().map(|error| error.code()),
            expected,
            "{scopes:?} {expires_at:?}"
        );
    };
    check(&["runs:read"], soon, None).await;
    check(&["keys:write"], soon, None).await;
    check(&["runs:write"], soon, Some(code::SCOPE_EXCEEDED)).await;
    check(&["runs:*"], soon, Some(code::SCOPE_EXCEEDED)).await;
    check(&["*"], soon, Some(code::SCOPE_EXCEEDED)).await;
    check(&["runs:read"], None, Some(code::SCOPE_EXCEEDED)).await;
    check(&["runs:read"], Some(UtcMillis(3_000_000)), Some(code::SCOPE_EXCEEDED)).await;
    check(&["runs:read"], Some(START), Some(code::KEY_TERMS)).await;
    check(&[], soon, Some(code::KEY_TERMS)).await;
    check(&["runs"], soon, Some(code::KEY_TERMS)).await;
    let taken = stage.keyring.rotate(&weak, strong.id, Duration::ZERO).await;
    assert!(matches!(taken, Err(KeyError::Scope(_))), "{taken:?}");
    let taken = stage.keyring.revoke(&weak, strong.id).await;
    assert!(matches!(taken, Err(KeyError::Scope(_))), "{taken:?}");
    assert!(stage.is_valid(&strong));
    // Not stronger, but good for longer.
    let lasting = stage.key("lasting", &["runs:read"], None).await;
    let taken = stage.keyring.rotate(&weak, lasting.id, Duration::ZERO).await;
    assert!(matches!(taken, Err(KeyError::Outlives)), "{taken:?}");
    let taken = stage.keyring.revoke(&weak, lasting.id).await;
    assert!(matches!(taken, Err(KeyError::Outlives)), "{taken:?}");
    assert!(stage.is_valid(&lasting));
    let brief = stage.key("brief", &["runs:read"], Some(UtcMillis(2_000_000))).await;
    stage
        .keyring
        .revoke(&weak, brief.id)
        .await
        .expect("for no longer than itself");
}

#[tokio::test]
async fn a_grant_bounds_and_is_handed_on_no_wider() {
    let stage = Stage::new();
    let grant = |key: &ApiKey| stage.keyring.check(&key.to_text()).expect("valid").grant();
    let free = stage.key("free", &["runs:*"], None).await;
    assert_eq!(grant(&free), None, "nothing is said of what its runs may touch");
    let bound = ["runs:*", "keys:*", "grant:exec:git", "grant:fs.write:out"];
    let bound = stage.key("bound", &bound, None).await;
    let shown: Vec<String> = grant(&bound).expect("bound").iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["fs.write:out", "exec:git"]);
    let by = stage.keyring.check(&bound.to_text()).expect("valid");
    let check = async |scopes: &[&str], expected: Option<Code>| {
        let made = stage.keyring.mint(&by, Stage::wanted("x", scopes, None)).await;
        assert_eq!(made.err().map(|error| error.code()), expected, "{scopes:?}");
    };
    check(&["runs:read", "grant:exec:git"], None).await;
    check(&["runs:read", "grant:fs.write:out/deeper"], None).await;
    check(&["runs:read"], Some(code::SCOPE_EXCEEDED)).await;
    check(&["runs:read", "grant:exec"], Some(code::SCOPE_EXCEEDED)).await;
    check(
        &["runs:read", "grant:exec:git", "grant:net:a:80"],
        Some(code::SCOPE_EXCEEDED),
    )
    .await;
    check(&["runs:read", "grant:root"], Some(code::KEY_TERMS)).await;
}

#[tokio::test]
async fn a_rotated_key_is_good_with_both_secrets_until_the_overlap_ends() {
    let stage = Stage::new();
    let old = stage.key("ci", &["runs:read"], None).await;
    let rotated = stage.keyring.rotate(&stage.operator, old.id, Duration::from_secs(60));
    let (new, _) = rotated.await.expect("rotated");
    assert_eq!(new.id, old.id);
    assert!(stage.is_valid(&old) && stage.is_valid(&new));
    stage.clock.set(START.plus_ms(60_000));
    assert!(!stage.is_valid(&old) && stage.is_valid(&new));
    let rotated = stage.keyring.rotate(&stage.operator, old.id, Duration::ZERO);
    let (newest, _) = rotated.await.expect("rotated");
    assert!(!stage.is_valid(&new) && stage.is_valid(&newest));
    stage.keyring.revoke(&stage.operator, old.id).await.expect("revoked");
    assert!(!stage.is_valid(&newest));
    let again = stage.keyring.revoke(&stage.operator, old.id).await;
    assert!(matches!(again, Err(KeyError::Ended { .. })), "{again:?}");
    let actions = ["key.created", "key.rotated", "key.rotated", "key.revoked"];
    assert_eq!(stage.actions(), actions);
    assert!(stage.audit.verify().expect("read").is_sound());
}

#[tokio::test]
async fn a_change_whose_asker_leaves_holds_with_its_commit_and_no_later_one_undoes_it() {
    let stage = Stage::new();
    let key = stage.key("ci", &["runs:read"], None).await;
    let other = stage.key("other", &["runs:read"], None).await;
    let lapse = stage.keyring.lapse(stage.keyring.check(&key.to_text()).expect("valid"));
    // Asked once, which queues it, and never again: what is left of a request whose connection broke.
    let asked = stage.keyring.revoke(&stage.operator, key.id).now_or_never();
    assert!(asked.is_none(), "it waits for the disk: {asked:?}");
    let asked = stage
        .keyring
        .rotate(&stage.operator, other.id, Duration::ZERO)
        .now_or_never();
    assert!(asked.is_none(), "it waits for the change before it: {asked:?}");
    let after = stage.keyring.rotate(&stage.operator, key.id, Duration::ZERO).await;
    assert!(
        matches!(after, Err(KeyError::Ended { .. })),
        "it is judged on what was queued before it: {after:?}"
    );
    assert!(!stage.is_valid(&key) && stage.is_valid(&other));
    let told = tokio::time::timeout(Duration::from_secs(20), lapse).await;
    told.expect("streams are told too");
    assert_eq!(stage.actions(), ["key.created", "key.created", "key.revoked"]);
    let asked = stage
        .keyring
        .rotate(&stage.operator, other.id, Duration::ZERO)
        .now_or_never();
    assert!(asked.is_none(), "it waits for the disk: {asked:?}");
    stage.keyring.0.committer.barrier().await.expect("commits");
    assert!(!stage.is_valid(&other), "its secret was rotated out");
}

#[tokio::test]
async fn a_key_ends_at_its_time() {
    let stage = Stage::new();
    let key = stage.key("short", &["runs:read"], Some(START.plus_ms(10))).await;
    assert!(stage.is_valid(&key));
    stage.clock.set(START.plus_ms(10));
    assert!(!stage.is_valid(&key));
    let states: Vec<&str> = stage.keyring.list().iter().map(|key| key.state.as_str()).collect();
    assert_eq!(states, ["expired"]);
}

#[tokio::test]
async fn a_lapse_is_told_at_once_when_it_is_made_and_at_its_time_when_it_was_agreed() {
    let stage = Stage::new();
    let key = stage.key("ci", &["runs:read"], None).await;
    let principal = stage.keyring.check(&key.to_text()).expect("valid");
    let mut lapse = std::pin::pin!(stage.keyring.lapse(principal));
    let waits = Duration::from_millis(1);
    assert!(tokio::time::timeout(waits, &mut lapse).await.is_err(), "it is valid");
    // Another key's end is nobody's business.
    let other = stage.key("other", &["runs:read"], None).await;
    stage.keyring.revoke(&stage.operator, other.id).await.expect("revoked");
    assert!(tokio::time::timeout(waits, &mut lapse).await.is_err(), "it is valid");
    stage.keyring.revoke(&stage.operator, key.id).await.expect("revoked");
    tokio::time::timeout(waits, lapse).await.expect("told");

    let key = stage.key("rotated", &["runs:read"], None).await;
    let principal = stage.keyring.check(&key.to_text()).expect("valid");
    let overlap = Duration::from_millis(100);
    let rotated = stage.keyring.rotate(&stage.operator, key.id, overlap).await;
    let (new, _) = rotated.expect("rotated");
    let mut lapse = std::pin::pin!(stage.keyring.lapse(principal));
    assert!(tokio::time::timeout(waits, &mut lapse).await.is_err(), "both are valid");
    stage.clock.set(START.plus_ms(100));
    tokio::time::timeout(Duration::from_secs(20), lapse)
        .await
        .expect("told");
    let principal = stage.keyring.check(&new.to_text()).expect("valid");
    let lapse = stage.keyring.lapse(principal);
    assert!(tokio::time::timeout(waits, lapse).await.is_err(), "the new one goes on");
}

#[tokio::test]
async fn a_use_is_noted_once_a_minute_and_survives_a_change() {
    let stage = Stage::new();
    let key = stage.key("ci", &["runs:read"], None).await;
    let commits = || stage.keyring.0.committer.figures().submitted.load(Ordering::Relaxed);
    let used = || stage.keyring.list()[0].row.used_at;
    assert_eq!(used(), None);
    let before = commits();
    for _ in 0..10 {
        assert!(stage.is_valid(&key));
    }
    assert_eq!((commits() - before, used()), (1, Some(START.0)));
    stage.clock.set(START.plus_ms(USE_NOTED_EVERY_MS));
    assert!(stage.is_valid(&key));
    assert_eq!(commits() - before, 2);
    stage.key("other", &["runs:read"], None).await;
    assert_eq!(used(), Some(START.plus_ms(USE_NOTED_EVERY_MS).0));
    stage.keyring.0.committer.barrier().await.expect("commits");
    assert_eq!(stage.store.keys().expect("read")[0].used_at, used());
}
