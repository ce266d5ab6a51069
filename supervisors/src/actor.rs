//! The supervisor as a ractor actor: takes messages and events, hands them to the shell, decides nothing.

use std::{any::Any, sync::Arc};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, concurrency::JoinHandle};
use tokio::task::AbortHandle;

use crate::{
    Admission, ApiError, ChildCounts, ChildId, ChildInfo, ChildSpec, ExitReason, Flags, StartedChild,
    address::Address,
    child::{Launch, StartContext},
    handle::View,
    probe::Probe,
    shell::Shell,
    state::{Event, NewChild, Request},
    supervisor::Blueprint,
};

/// What a supervisor is told. Requests and facts about itself; children's ends come as supervision events.
pub(crate) enum Message {
    /// Something lies in the queue of finished work.
    Bell,
    /// A timer of the core is due.
    Wake,
    Request(Request<Child>, RpcReplyPort<Result<Outcome, ApiError>>),
    Which(RpcReplyPort<Vec<ChildInfo>>),
    Count(RpcReplyPort<ChildCounts>),
    Spec(ChildId, RpcReplyPort<Option<ChildSpec>>),
    Flags(RpcReplyPort<Flags>),
    Snapshot(RpcReplyPort<View>),
    ZombieLimit,
}

#[cfg(feature = "cluster")]
impl ractor::Message for Message {}

/// What came of a request.
pub(crate) enum Outcome {
    Running {
        cell: ActorCell,
        info: Option<Box<dyn Any + Send>>,
    },
    Ignored,
    Done,
}

impl Outcome {
    pub(crate) fn into_started(self) -> StartedChild {
        match self {
            Self::Running { cell, info } => StartedChild::Running { cell, info },
            Self::Ignored | Self::Done => StartedChild::Ignored,
        }
    }
}

/// What the core carries for the shell with every child.
pub(crate) struct Child {
    /// How to start it; dropped once a temporary child runs, so that its arguments are not kept.
    pub(crate) launch: Option<Arc<dyn Launch>>,
    /// The handle of the supervisor that it is, kept also when the start function of a temporary child is not.
    pub(crate) nested: Option<Arc<crate::handle::Shared>>,
    pub(crate) address: Arc<Address>,
    /// Addresses of specifications that replaced the first one.
    pub(crate) more_addresses: Vec<Arc<Address>>,
    pub(crate) gauge: Option<Admission>,
    pub(crate) running: Option<Running>,
    /// The task that a start goes on in, when it did not come through at once.
    pub(crate) start_task: Option<AbortHandle>,
    pub(crate) info: Option<Box<dyn Any + Send>>,
    pub(crate) last_exit: Option<ExitReason>,
}

/// A running incarnation.
pub(crate) struct Running {
    pub(crate) cell: ActorCell,
    pub(crate) join: Option<JoinHandle<()>>,
    pub(crate) probe: Arc<Probe>,
    /// Whether something waits for its end and will tell the core.
    pub(crate) watched: bool,
}

impl Child {
    pub(crate) fn new(launch: Arc<dyn Launch>, address: Arc<Address>, gauge: Option<Admission>) -> Self {
        Self {
            nested: launch.nested().cloned(),
            launch: Some(launch),
            address,
            more_addresses: Vec::new(),
            gauge,
            running: None,
            start_task: None,
            info: None,
            last_exit: None,
        }
    }

    pub(crate) fn of(spec: ChildSpec) -> NewChild<Self> {
        NewChild {
            id: spec.id,
            policy: spec.policy,
            incarnation: spec.address.incarnation(),
            payload: Self::new(spec.launch, spec.address, spec.gauge),
        }
    }

    pub(crate) fn cell(&self) -> Option<&ActorCell> {
        self.running.as_ref().map(|running| &running.cell)
    }

    pub(crate) fn publish(&self, incarnation: u64) {
        if let Some(cell) = self.cell() {
            self.address.publish(cell.clone(), incarnation);
            for address in &self.more_addresses {
                address.publish(cell.clone(), incarnation);
            }
        }
    }

    pub(crate) fn withdraw(&self, incarnation: u64) {
        self.address.withdraw(incarnation);
        for address in &self.more_addresses {
            address.withdraw(incarnation);
        }
    }

    /// Gives up the running incarnation, or the start under way, without its end having been seen.
    pub(crate) fn leave_behind(&mut self, incarnation: u64) -> Option<Running> {
        self.withdraw(incarnation);
        self.start_task = None;
        self.running.take()
    }

    /// Takes over what a new specification says; the running actor stays.
    pub(crate) fn respec(&mut self, new: Self, incarnation: u64) {
        self.launch = new.launch;
        self.gauge = new.gauge;
        let known = std::iter::once(&self.address)
            .chain(&self.more_addresses)
            .any(|a| Arc::ptr_eq(a, &new.address));
        if !known {
            self.more_addresses.push(new.address);
            self.publish(incarnation);
        }
    }
}

pub(crate) struct SupervisorActor;

impl Actor for SupervisorActor {
    type Msg = Message;
    type State = Shell;
    type Arguments = (Arc<Blueprint>, StartContext);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (blueprint, context): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let mut shell = Shell::new(myself, &blueprint, context);
        shell.bring_up().await?;
        Ok(shell)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        shell: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Bell => shell.drain_queue().await,
            Message::Wake => shell.wake().await,
            Message::Request(request, reply) => shell.request(request, reply).await,
            Message::Which(reply) => drop(reply.send(shell.which())),
            Message::Count(reply) => drop(reply.send(shell.count())),
            Message::Spec(id, reply) => drop(reply.send(shell.spec(&id))),
            Message::Flags(reply) => drop(reply.send(shell.flags())),
            Message::Snapshot(reply) => drop(reply.send(shell.view())),
            Message::ZombieLimit => shell.dispatch(Event::ZombieLimit).await,
        }
        shell.arm();
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        shell: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, state, reason) => {
                // The child's last state may hold what its successor needs: a port, a file, a lock.
                drop(state);
                shell
                    .child_ended(&cell, ExitReason::from_stop_reason(reason.as_deref()))
                    .await;
            }
            SupervisionEvent::ActorFailed(cell, error) => shell.child_failed(&cell, error).await,
            _ => return Ok(()),
        }
        shell.arm();
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<Self::Msg>, shell: &mut Self::State) -> Result<(), ActorProcessingErr> {
        shell.take_down().await;
        Ok(())
    }
}
