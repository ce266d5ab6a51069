//! The actors of the layer over a real store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use supervisors::{Supervisor, SupervisorRef};
use tokio::sync::mpsc;

use crate::domain::alert::Delivery;
use crate::domain::id::AlertId;
use crate::domain::incident::{Incident, IncidentState};
use crate::domain::time::UtcMillis;
use crate::runtime::bus::Bus;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::entropy::Entropy;
use crate::runtime::telemetry::Telemetry;
use crate::storage::batch::{Batch, Op};
use crate::storage::store::Store;

use super::alerts::channel::{Channel, Way};
use super::alerts::command::CommandChannel;
use super::alerts::decision::Policy;
use super::alerts::outbox::WAITING_MAX;
use super::check::{Check, Finding, Severity, Verdict};
use super::handle::HealthHandle;
use super::layer::layer;
use super::parts::{Checking, HealthParts};
use super::recorder::Restarted;

/// Longest wait for something that the layer does by itself.
const SOON: Duration = Duration::from_secs(20);

struct House {
    folder: tempfile::TempDir,
    store: Store,
    health: HealthHandle,
    told: mpsc::Sender<Restarted>,
    root: SupervisorRef,
    well: Arc<AtomicBool>,
}

async fn house() -> House {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
    let committer = Committer::start(store.clone(), Bus::default()).expect("starts");
    let well = Arc::new(AtomicBool::new(true));
    let asked = well.clone();
    let check = Check::new("part", Severity::Error, move || {
        let verdict = if asked.load(Ordering::Relaxed) {
            Verdict::Good("it moves".into())
        } else {
            Verdict::Failed(Finding::new("it stands", "push it"))
        };
        std::future::ready(verdict)
    });
    let script = format!("cat > {}/$OPENCLAW_ALERT_ID", folder.path().join("told").display());
    std::fs::create_dir(folder.path().join("told")).expect("made");
    let channel = |name: &str, script: &str| Channel {
        name: name.into(),
        way: Way::Command(CommandChannel {
            argv: vec!["sh".into(), "-c".into(), script.into()],
        }),
    };
    let channels = [channel("dead", "exit 1"), channel("script", &script)];
    let parts = HealthParts {
        clock: Clock::system(),
        entropy: Entropy::seeded(1),
        store: store.clone(),
        committer,
        telemetry: Telemetry::default(),
        checking: Arc::new(arc_swap::ArcSwap::from_pointee(Checking {
            checks: [check].into(),
            // Rounds are asked for.
            interval: Duration::from_secs(3_600),
            failures: 2,
        })),
        policy: Policy {
            group_wait_ms: 0,
            repeat_ms: u64::MAX,
            least: Severity::Warning,
        },
        channels: channels.into(),
        host: "here".into(),
        keep_ms: u64::MAX,
        export: None,
    };
    // As an earlier life left it: more than the alerter has in mind for one channel.
    let old = (0..250).map(|number| {
        Op::DeliveryPut(Delivery {
            id: AlertId::new(UtcMillis(number), u128::from(number)),
            channel: "dead".into(),
            subject: "".into(),
            body: "{}".into(),
            made_at: parts.clock.now(),
            attempts: 0,
            next_at: UtcMillis(0),
        })
    });
    let old = Batch::ops(old.collect());
    parts.committer.commit(old).await.expect("written");
    let (told, listens) = mpsc::channel(16);
    let (spec, health) = layer(parts, listens);
    let root = Supervisor::start("root", spec).await.expect("starts");
    House {
        folder,
        store,
        health,
        told,
        root,
        well,
    }
}

impl House {
    fn incidents(&self) -> Vec<(Incident, IncidentState)> {
        self.store.incident_views(None, 10, &|_| true).expect("read")
    }

    /// What people were told.
    fn messages(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path().join("told")).expect("read");
        let read = |file: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(file.expect("a file").path());
        files
            .map(|file| read(file).expect("read"))
            .filter(|text| !text.is_empty())
            .collect()
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let look = async {
            while !is(self) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(SOON, look).await;
        found.unwrap_or_else(|_| panic!("{what}: {:?} {:?}", self.incidents(), self.messages()));
    }
}

#[tokio::test]
async fn a_check_that_fails_twice_is_one_incident_that_is_told_and_ends_with_the_first_good_answer() {
    let house = house().await;
    assert!(house.health.round().await.expect("made").is_good());
    house.well.store(false, Ordering::Relaxed);
    let round = house.health.round().await.expect("made");
    assert!(!round.is_good() && house.incidents().is_empty(), "one failure is doubt");
    house.health.round().await.expect("made");
    house.health.round().await.expect("made");
    let incidents = house.incidents();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert_eq!(&*incidents[0].0.why, "it stands");
    house
        .until("people are told", |house| house.messages().len() == 1)
        .await;
    assert!(
        house.messages()[0].contains("the check `part` fails"),
        "{:?}",
        house.messages()
    );
    house.well.store(true, Ordering::Relaxed);
    house.health.round().await.expect("made");
    assert!(!house.incidents()[0].1.is_open());
    house
        .until("people are told of its end", |house| house.messages().len() == 2)
        .await;
    house
        .until("nothing is left to do", |house| {
            let unsettled = house.store.unsettled_incidents(9, &|_| true).expect("read");
            unsettled.is_empty() && {
                let waiting = house.store.deliveries(1_000).expect("read");
                waiting.len() <= WAITING_MAX + 1 && waiting.iter().all(|waits| &*waits.channel == "dead")
            }
        })
        .await;
    house.root.shutdown().await;
}

#[tokio::test]
async fn a_restart_is_an_incident_and_the_same_again_is_the_same_one() {
    let house = house().await;
    let restarted = |kind: &str| Restarted {
        supervisor: "root/runs".into(),
        kind: kind.into(),
        reason: "panicked".into(),
    };
    for kind in ["steward", "steward", "dispatcher"] {
        house.told.try_send(restarted(kind)).expect("told");
    }
    house.until("two incidents", |house| house.incidents().len() == 2).await;
    house.told.try_send(restarted("steward")).expect("told");
    house
        .until("the third restart of the steward", |house| {
            let times: Vec<u64> = house.incidents().iter().map(|(_, state)| state.again).collect();
            times.len() == 2 && times.contains(&2) && times.contains(&0)
        })
        .await;
    house.root.shutdown().await;
}
