//! What the shell shows to those who only look.

use std::{sync::Arc, time::Duration};

use ractor::ActorCell;

use super::Shell;
use crate::{
    ChildCounts, ChildId, ChildInfo, ChildSpec, ChildStatus, Flags, StartError, TreeSnapshot,
    child::{BoxFuture, Launch, Launched, StartContext},
    handle::View,
    snapshot::SnapshotStrategy,
};

/// Stands in for the start function of a temporary child, which is not kept.
struct Forgotten;

impl Launch for Forgotten {
    fn launch(self: Arc<Self>, _: StartContext, _: ActorCell) -> BoxFuture<Result<Launched, StartError>> {
        Box::pin(async {
            Err(StartError::failed(
                "the start function of a temporary child is not kept",
            ))
        })
    }
}

impl Shell {
    pub(crate) fn which(&self) -> Vec<ChildInfo> {
        self.core.slots().map(ChildInfo::of).collect()
    }

    pub(crate) fn count(&self) -> ChildCounts {
        self.core.count()
    }

    pub(crate) fn flags(&self) -> Flags {
        *self.core.flags()
    }

    pub(crate) fn spec(&self, id: &ChildId) -> Option<ChildSpec> {
        self.core.find(id).map(|slot| ChildSpec {
            id: slot.id.clone(),
            policy: Arc::clone(&slot.policy),
            launch: slot.payload.launch.clone().unwrap_or_else(|| Arc::new(Forgotten)),
            address: Arc::clone(&slot.payload.address),
            gauge: slot.payload.gauge.clone(),
        })
    }

    pub(crate) fn view(&self) -> View {
        let now = self.now();
        let children = self.core.slots().map(|slot| {
            let status = ChildStatus::of(&slot.phase);
            let up = matches!(status, ChildStatus::Running | ChildStatus::Stopping);
            let nested = slot.payload.nested.clone();
            let line = TreeSnapshot {
                path: format!("{}/{}", self.path, slot.id),
                id: slot.id.to_string(),
                kind: slot.policy.kind,
                strategy: None,
                status,
                restart: slot.policy.restart,
                restarts: slot.restarts,
                incarnation: slot.incarnation,
                uptime: up.then(|| now.saturating_sub(slot.started_at)),
                mailbox_depth: slot.payload.gauge.as_ref().map(crate::Admission::depth),
                zombies: 0,
                answered: nested.is_none(),
                children: Vec::new(),
            };
            (line, nested.filter(|_| up))
        });
        View {
            strategy: if self.core.is_dynamic() {
                SnapshotStrategy::Dynamic
            } else {
                SnapshotStrategy::Static(self.core.flags().strategy)
            },
            uptime: now.max(Duration::ZERO),
            zombies: self.tree.zombies.count(),
            children: children.collect(),
        }
    }
}
