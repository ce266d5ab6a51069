//! What `runs` holds of the agents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use supervisors::{ApiError, CallError, ChildRef, ChildSpec, SupervisorRef};

use crate::domain::agent::AgentDefinition;
use crate::domain::approval::ApprovalRules;
use crate::domain::budget::Account;
use crate::domain::fact::Attempt;
use crate::domain::fault::Fault;
use crate::domain::handoff::Finding;
use crate::domain::id::RunId;
use crate::domain::name::AgentName;

use super::order::{SessionOrder, session_id};
use super::parts::{AgentsParts, Definitions};
use super::roster::{AgentMessage, Sessions, Taken, start};
use super::session::message::SessionMessage;
use super::treasury::Treasury;

/// How long an agent may take to judge an order and start its session.
const TAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Between two looks at how many sessions are left.
const SUSPEND_LOOK: Duration = Duration::from_millis(10);

/// A cheap clone; resolves the actors at each call.
#[derive(Clone)]
pub struct AgentsHandle {
    agents: Arc<BTreeMap<AgentName, ChildRef<AgentMessage>>>,
    sessions: Sessions,
    roster: SupervisorRef,
    make: MakeAgent,
    later: Arc<tokio::sync::Mutex<BTreeMap<AgentName, ChildRef<AgentMessage>>>>,
    definitions: Definitions,
    treasury: Treasury,
    approvals: Arc<ArcSwap<ApprovalRules>>,
    suspended: Arc<AtomicBool>,
}

/// Makes the branch of one agent.
pub(super) type MakeAgent = Arc<dyn Fn(&AgentName) -> ChildSpec + Send + Sync>;

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The agent refused it.
    #[error("hand an order over: it was refused in {} places", .0.len())]
    Refused(Vec<Finding>),
    /// There is no such agent.
    #[error("hand an order over: there is no agent `{0}`")]
    NoAgent(AgentName),
    /// The agent did not answer.
    #[error("hand an order over to `{agent}`")]
    Unanswered {
        /// Which agent.
        agent: AgentName,
        /// Why.
        #[source]
        source: CallError,
    },
    /// The session could not be started.
    #[error("start a session")]
    NotStarted(#[source] ApiError),
}

impl TakeError {
    /// Whether the order was not given because a supervisor is just being started anew: nothing has begun.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::NotStarted(ApiError::Down))
    }

    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(_) => Fault::Invalid,
            Self::NoAgent(_) => Fault::NotFound,
            Self::Unanswered { .. } => Fault::TimedOut,
            Self::NotStarted(_) => Fault::Unavailable,
        }
    }
}

impl AgentsHandle {
    pub(super) fn new(
        agents: BTreeMap<AgentName, ChildRef<AgentMessage>>,
        sessions: Sessions,
        (roster, make): (SupervisorRef, MakeAgent),
        parts: &AgentsParts,
    ) -> Self {
        Self {
            agents: Arc::new(agents),
            sessions,
            roster,
            make,
            later: Arc::default(),
            definitions: parts.definitions.clone(),
            treasury: parts.treasury.clone(),
            approvals: parts.approvals.clone(),
            suspended: Arc::default(),
        }
    }

    /// Hands an order to its agent, or starts the call of a skill. The report comes later.
    pub async fn take(&self, order: SessionOrder) -> Result<(), TakeError> {
        if self.suspended.load(Ordering::Acquire) {
            // The order is in the journal: the next life of the process starts its session.
            return Ok(());
        }
        let taken = match order.handoff().map(|handoff| handoff.to.clone()) {
            None => start(&self.sessions, order, None).await,
            Some(name) => {
                let agent = self.actor(&name).await?;
                let order = Box::new(order);
                agent
                    .call(|reply| AgentMessage::Take { order, reply }, TAKE_DEADLINE)
                    .await
                    .map_err(|source| TakeError::Unanswered { agent: name, source })?
            }
        };
        match taken {
            Taken::Accepted => Ok(()),
            Taken::Refused(findings) => Err(TakeError::Refused(findings)),
            Taken::NotStarted(error) => Err(TakeError::NotStarted(error)),
        }
    }

    /// Tells a session to stop; false when there is none, so nothing of it runs.
    pub fn stop(&self, run: RunId, attempt: &Attempt) -> bool {
        let session = self.sessions.get(session_id(run, attempt));
        session.is_some_and(|session| session.cast(SessionMessage::Stop).is_ok())
    }

    /// Starts nothing new and lets the sessions come to a point from which the next life of the process can go on:
    /// the calls under way end and are journaled. Gives how many sessions had not got there within `limit`.
    pub async fn suspend(&self, limit: Duration) -> usize {
        self.suspended.store(true, Ordering::Release);
        for session in self.sessions.which().await.unwrap_or_default() {
            if let Some(session) = self.sessions.get(session.id) {
                // One that ended meanwhile needs no telling.
                session.cast(SessionMessage::Suspend).ok();
            }
        }
        let quiet = async {
            while self.sessions.count() > 0 {
                tokio::time::sleep(SUSPEND_LOOK).await;
            }
        };
        if tokio::time::timeout(limit, quiet).await.is_ok() {
            return 0;
        }
        self.sessions.count()
    }

    /// The agents as configured.
    pub fn definitions(&self) -> Arc<BTreeMap<AgentName, Arc<AgentDefinition>>> {
        self.definitions.all()
    }

    /// The token accounts.
    pub fn treasury(&self) -> &Treasury {
        &self.treasury
    }

    /// Who has to agree to which call.
    pub fn approvals(&self) -> Arc<ApprovalRules> {
        self.approvals.load_full()
    }

    /// Takes another configuration: the next order of each agent is worked on by it, and an agent that is new gets an
    /// actor with its first order. Sessions under way keep the definition with which they began, also over a crash of
    /// theirs; one that is taken up by another life of the process has the definition of then.
    pub fn configure(&self, agents: impl IntoIterator<Item = AgentDefinition>, approvals: ApprovalRules) {
        self.definitions.replace(agents);
        self.approvals.store(Arc::new(approvals));
    }

    /// The actor of an agent. One that came with a later configuration is started when it is missing: its supervisor
    /// knows by itself only those of the start.
    async fn actor(&self, name: &AgentName) -> Result<ChildRef<AgentMessage>, TakeError> {
        if let Some(known) = self.agents.get(name) {
            return Ok(known.clone());
        }
        if self.definitions.get(name).is_none() {
            return Err(TakeError::NoAgent(name.clone()));
        }
        let mut later = self.later.lock().await;
        if let Some(known) = later.get(name).filter(|known| known.is_up()) {
            return Ok(known.clone());
        }
        let spec = (self.make)(name);
        let address = spec.address();
        match self.roster.start_child(spec).await {
            Ok(_) => later.insert(name.clone(), address.clone()),
            // It is being started again by its supervisor.
            Err(ApiError::AlreadyStarted { .. } | ApiError::AlreadyPresent(_) | ApiError::Restarting(_)) => None,
            Err(error) => return Err(TakeError::NotStarted(error)),
        };
        Ok(later.get(name).cloned().unwrap_or(address))
    }

    /// How many sessions are under way.
    pub fn sessions_active(&self) -> usize {
        self.sessions.count()
    }

    /// Sessions of an agent under way.
    pub fn active_of(&self, agent: &AgentName) -> u32 {
        self.definitions.active_of(agent)
    }

    /// Tokens that an active run has used, reserved ones included; 0 when its balance cannot be read.
    pub fn tokens_of(&self, run: RunId) -> u64 {
        self.treasury
            .balance(&Account::Run(run))
            .map_or(0, |balance| balance.used().tokens)
    }
}
