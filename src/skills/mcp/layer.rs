//! The branch of the servers.
//!
//! ```text
//! mcp (one_for_one)
//! ├── links: the work of all servers, as tasks
//! └── <server> (temporary): gives up after 5 restarts in 60 s and stays down; nothing else notices
//!     └── server (permanent, with a backoff)
//! ```

use std::sync::Arc;
use std::time::Duration;

use supervisors::{Backoff, ChildSpec, Fact, Restart, Shutdown, Strategy, SupervisorSpec, TaskSupervisor, Tasks};

use super::server::{ServerActor, ServerParts};
use super::shared::Shared;

const RESTARTS: u32 = 5;
const PERIOD: Duration = Duration::from_secs(60);
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Longer than a keeper may need for its end.
const SHUTDOWN_MAX: Duration = Duration::from_secs(9);

/// Makes the tasks that servers need, before their actors.
pub fn links(servers: usize) -> (TaskSupervisor, Tasks) {
    let tasks = TaskSupervisor::new(servers.max(1) * 4);
    let handle = tasks.handle();
    (tasks, handle)
}

/// Makes the branch.
pub fn layer(links: TaskSupervisor, parts: &ServerParts, servers: &[Arc<Shared>]) -> SupervisorSpec {
    let mut branch = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(3, Duration::from_secs(60))
        .forgive_kills()
        .child(ChildSpec::tasks("links", links));
    for shared in servers {
        branch = branch.child(child(parts, shared));
    }
    branch
}

/// The branch of one server.
pub fn child(parts: &ServerParts, shared: &Arc<Shared>) -> ChildSpec {
    let actor = (parts.clone(), Arc::clone(shared));
    let server = ChildSpec::actor("server", move |_| {
        let (parts, shared) = actor.clone();
        (ServerActor { parts, shared }, ())
    })
    .restart(Restart::Permanent)
    .backoff(Backoff::jitter(BACKOFF_MIN, BACKOFF_MAX))
    .shutdown(Shutdown::Timeout(SHUTDOWN_MAX));
    let told = Arc::clone(shared);
    let supervisor = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(RESTARTS, PERIOD)
        .forgive_kills()
        .report_to(Arc::new(move |report| {
            if matches!(report.fact, Fact::GaveUp { .. }) {
                told.give_up();
            }
        }))
        .child(server);
    ChildSpec::supervisor(shared.config.name.as_str(), supervisor).restart(Restart::Temporary)
}
