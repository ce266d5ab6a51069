//! The layer's branch of the supervision tree.
//!
//! ```text
//! agents (one_for_one; ends with the supervisor of the sessions)
//! ├── sessions (dynamic, transient): one for each attempt under way
//! └── roster (one_for_one): one permanent actor for each agent
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use supervisors::{AutoShutdown, Backoff, ChildSpec, DynamicSpec, Restart, Shutdown, Strategy, SupervisorSpec};

use crate::domain::name::AgentName;

use super::handle::AgentsHandle;
use super::parts::AgentsParts;
use super::roster::{AgentActor, SessionArgument};
use super::session::message::SessionMessage;
use super::session::shell::{SessionActor, SessionStart};

/// Sessions at once over all agents; beyond it an order fails with "overloaded" and is tried again.
const SESSIONS_MAX: usize = 10_000;

/// Makes the branch and the handle to it.
pub fn layer(parts: &AgentsParts) -> (SupervisorSpec, AgentsHandle) {
    let session_parts = parts.clone();
    let sessions: DynamicSpec<SessionArgument, SessionMessage> = DynamicSpec::actor(move |context, argument| {
        let SessionArgument { order, definition } = argument;
        let start = SessionStart { order: (*order).clone(), definition, incarnation: context.incarnation() };
        (SessionActor { parts: session_parts.clone() }, start)
    })
    // It ends by itself when it has reported; anything else is a crash, and the journal says where to go on.
    .restart(Restart::Transient)
    // Long enough to stop a program and journal what came of it.
    .shutdown(Shutdown::Timeout(Duration::from_secs(5)))
    .backoff(Backoff::jitter(Duration::from_millis(50), Duration::from_secs(5)))
    .max_children(SESSIONS_MAX)
    // Sessions of all runs share this window, so it is wider than a leaf's.
    .intensity(200, Duration::from_secs(30)).forgive_kills();
    let sessions_handle = sessions.handle();

    let mut roster = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(5, Duration::from_secs(30))
        .forgive_kills();
    let mut agents = BTreeMap::new();
    let (for_agents, their_sessions) = (parts.clone(), sessions_handle.clone());
    let make = move |name: &AgentName| {
        let actor = (name.clone(), for_agents.clone(), their_sessions.clone());
        ChildSpec::actor(name.as_str(), move |_| {
            let (name, parts, sessions) = actor.clone();
            (AgentActor { name, parts, sessions }, ())
        })
    };
    for name in parts.definitions.all().keys() {
        let spec = make(name);
        agents.insert(name.clone(), spec.address());
        roster = roster.child(spec);
    }
    let handle = AgentsHandle::new(agents, sessions_handle, (roster.handle(), Arc::new(make)), parts);
    // A supervisor that forgot all sessions must not come back quietly: runs would wait for reports that nobody
    // writes. The layer ends with it, so that the root starts the runs anew as well, and they give their orders again.
    let sessions = ChildSpec::dynamic("sessions", sessions)
        .restart(Restart::Temporary)
        .significant(true);
    let spec = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(3, Duration::from_secs(60))
        .forgive_kills()
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(sessions)
        .child(ChildSpec::supervisor("roster", roster));
    (spec, handle)
}
