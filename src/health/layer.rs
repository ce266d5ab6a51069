//! The layer's branch of the supervision tree.
//!
//! ```text
//! health (rest_for_one)
//! ├── checking: the round of checks under way
//! ├── checker: makes rounds, keeps incidents in step
//! ├── sending: one task for each message that is being sent
//! ├── recorder: makes incidents of restarts
//! ├── alerter: tells people
//! ├── exporting: requests to the collector that are under way (with a collector alone, as the next)
//! └── exporter: tells a collector what runs did and what was logged
//! ```

use std::sync::Arc;
use std::time::Duration;

use supervisors::{ChildSpec, Strategy, SupervisorSpec, TaskSupervisor};
use tokio::sync::{Mutex, mpsc};

use super::alerter::{Alerter, SENDING_MAX};
use super::checker::Checker;
use super::export::exporter::{self, Exporter};
use super::handle::HealthHandle;
use super::parts::{HealthInside, HealthParts};
use super::recorder::{Recorder, Restarted};
use super::round::LastRound;

/// Rounds at once: one, and one of a life that ends.
const ROUNDS_MAX: usize = 2;

/// Makes the branch and the handle to it. What supervisors tell comes over `told`.
pub fn layer(parts: HealthParts, told: mpsc::Receiver<Restarted>) -> (SupervisorSpec, HealthHandle) {
    let rounds = TaskSupervisor::new(ROUNDS_MAX);
    let messages = TaskSupervisor::new(2 * SENDING_MAX);
    let last = LastRound::default();
    let (committer, clock) = (parts.committer.clone(), parts.clock.clone());
    let checking = parts.checking.clone();
    let inside = HealthInside {
        parts,
        checking: rounds.handle(),
        sending: messages.handle(),
    };
    let (for_checker, for_last) = (inside.clone(), last.clone());
    let checker = ChildSpec::actor("checker", move |_| {
        let checker = Checker {
            inside: for_checker.clone(),
            last: for_last.clone(),
        };
        (checker, ())
    });
    let handle = HealthHandle {
        last,
        checker: checker.address(),
        committer,
        clock,
        checking,
    };
    let (for_recorder, told) = (inside.clone(), Arc::new(Mutex::new(told)));
    let recorder = ChildSpec::actor("recorder", move |_| {
        let recorder = Recorder {
            inside: for_recorder.clone(),
            told: told.clone(),
        };
        (recorder, ())
    });
    let for_alerter = inside.clone();
    let alerter = ChildSpec::actor("alerter", move |_| {
        let inside = for_alerter.clone();
        (Alerter { inside }, ())
    });
    let mut spec = SupervisorSpec::new(Strategy::RestForOne)
        .intensity(3, Duration::from_secs(60))
        .forgive_kills()
        .child(ChildSpec::tasks("checking", rounds))
        .child(checker)
        .child(ChildSpec::tasks("sending", messages))
        .child(recorder)
        .child(alerter);
    if let Some(export) = inside.parts.export.clone() {
        let requests = TaskSupervisor::new(exporter::SENDING_MAX);
        let sending = requests.handle();
        let HealthParts {
            clock,
            store,
            telemetry,
            host,
            ..
        } = inside.parts;
        let exporter = ChildSpec::actor("exporter", move |_| {
            let exporter = Exporter {
                clock: clock.clone(),
                store: store.clone(),
                telemetry: telemetry.clone(),
                host: host.clone(),
                export: export.clone(),
                sending: sending.clone(),
            };
            (exporter, ())
        });
        spec = spec.child(ChildSpec::tasks("exporting", requests)).child(exporter);
    }
    (spec, handle)
}
