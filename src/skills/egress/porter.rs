//! The actor that keeps the proxy's door open, and the branch that it lives in.
//!
//! ```text
//! egress (rest_for_one)
//! ├── connections: one task for each connection, and the accept loop
//! └── porter: keeps the accept loop alive
//! ```

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{ChildSpec, Strategy, SupervisorSpec, TaskExit, TaskRef, TaskSupervisor, Tasks};
use tokio::net::UnixListener;

use super::door::Egress;
use super::proxy::serve;

/// Connections of all programs at once; more are closed.
const CONNECTIONS_MAX: usize = 1024;
/// Wait after the system has no more file descriptors or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the porter is told.
#[derive(Debug)]
pub(super) enum PorterMessage {
    /// The accept loop ended, which it never does by itself.
    LoopEnded(String),
}

struct Porter {
    listener: Arc<UnixListener>,
    egress: Egress,
    connections: Tasks,
}

/// Stops the loop when the actor goes.
struct AcceptLoop(TaskRef);

impl Drop for AcceptLoop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Listens at the proxy's socket and makes the branch that serves it. What an earlier daemon left there is replaced.
pub fn layer(egress: &Egress) -> io::Result<SupervisorSpec> {
    let socket: &Path = egress.socket();
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The folder is the daemon's own; the passes are what lets a connection in.
    let listener = Arc::new(UnixListener::bind(socket)?);
    let tasks = TaskSupervisor::new(CONNECTIONS_MAX + 1);
    let connections = tasks.handle();
    let egress = egress.clone();
    let porter = ChildSpec::actor("porter", move |_| {
        let porter = Porter {
            listener: listener.clone(),
            egress: egress.clone(),
            connections: connections.clone(),
        };
        (porter, ())
    });
    Ok(SupervisorSpec::new(Strategy::RestForOne)
        .intensity(5, Duration::from_secs(30))
        .forgive_kills()
        .child(ChildSpec::tasks("connections", tasks))
        .child(porter))
}

impl Actor for Porter {
    type Msg = PorterMessage;
    type State = AcceptLoop;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<PorterMessage>, (): ()) -> Result<AcceptLoop, ActorProcessingErr> {
        let accepting = accept(self.listener.clone(), self.egress.clone(), self.connections.clone());
        let task = self.connections.spawn("accept loop", accepting, move |exit| {
            if let TaskExit::Panicked(reason) = exit {
                myself.cast(PorterMessage::LoopEnded(reason)).ok();
            }
        })?;
        Ok(AcceptLoop(task))
    }

    async fn handle(
        &self,
        _myself: ActorRef<PorterMessage>,
        PorterMessage::LoopEnded(reason): PorterMessage,
        _state: &mut AcceptLoop,
    ) -> Result<(), ActorProcessingErr> {
        Err(format!("the accept loop of the proxy crashed: {reason}").into())
    }
}

async fn accept(listener: Arc<UnixListener>, egress: Egress, connections: Tasks) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if connections
                    .spawn("connection", serve(stream, egress.clone()), |_| {})
                    .is_err()
                {
                    tracing::warn!("a connection to the proxy was refused: the limit of connections is reached");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the proxy could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
