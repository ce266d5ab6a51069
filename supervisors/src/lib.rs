//! Erlang/OTP-grade supervision trees for [ractor].
//!
//! A supervisor starts its children in order, watches them, restarts those that fail, stops them in reverse order, and
//! gives up when restarting does not help, which is then its own supervisor's problem. That is all it does, and that is
//! why it can be trusted: no logic of yours runs in it.
//!
//! ```
//! use std::time::Duration;
//!
//! use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
//! use supervisors::{ChildSpec, Strategy, Supervisor, SupervisorSpec};
//!
//! struct Counter;
//!
//! enum Message {
//!     Add(u64),
//!     Total(RpcReplyPort<u64>),
//! }
//!
//! impl Actor for Counter {
//!     type Msg = Message;
//!     type State = u64;
//!     type Arguments = u64;
//!
//!     async fn pre_start(&self, _: ActorRef<Message>, start: u64) -> Result<u64, ActorProcessingErr> {
//!         Ok(start)
//!     }
//!
//!     async fn handle(&self, _: ActorRef<Message>, message: Message, total: &mut u64) -> Result<(), ActorProcessingErr> {
//!         match message {
//!             Message::Add(0) => panic!("nothing to add"),
//!             Message::Add(n) => *total += n,
//!             Message::Total(reply) => drop(reply.send(*total)),
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let counter = ChildSpec::actor("counter", |_context| (Counter, 100));
//! // The address outlives every incarnation, and is there before the first one.
//! let address = counter.address::<Message>();
//!
//! let root = SupervisorSpec::new(Strategy::OneForOne).intensity(3, Duration::from_secs(30)).child(counter);
//! let root = Supervisor::start("root", root).await.expect("the tree starts");
//!
//! let total = || address.call(Message::Total, Duration::from_secs(1));
//! address.cast(Message::Add(5)).expect("the counter is up");
//! assert_eq!(total().await, Ok(105));
//!
//! address.cast(Message::Add(0)).expect("the counter is up");
//! while address.incarnation() < 2 {
//!     tokio::task::yield_now().await;
//! }
//! assert_eq!(total().await, Ok(100));
//!
//! root.shutdown().await;
//! # }
//! ```
//!
//! # Principles
//!
//! - **Let it crash, from a known state.** A panic means that the state cannot be trusted: the child is dropped and made
//!   anew by the function in its [`ChildSpec`]. What must survive lives elsewhere and is read back in `pre_start`.
//! - **Dead means observed dead.** The next incarnation starts when the previous one's task has ended: after `post_stop`,
//!   after its state is dropped, after the actors it had linked below itself are gone. Two incarnations never hold the
//!   same port, file or registry name.
//! - **Nothing blocks a supervisor.** Starts, stops, delays and retries are events, so requests, snapshots and a shutdown
//!   are served in between. A request that must wait (for a group restart, for a child in transition) waits by itself.
//! - **The decision is pure.** Inside, a state machine turns `(event, time)` into actions; the actor around it only carries
//!   them out. It is tested against a naive model and against OTP's own suite, case by case.
//!
//! # Choosing
//!
//! | question | answer |
//! |---|---|
//! | Do siblings depend on each other? | no: [`Strategy::OneForOne`] · all on all: [`OneForAll`](Strategy::OneForAll) · later on earlier: [`RestForOne`](Strategy::RestForOne) |
//! | Does one need no sibling's restart? | [`apart`](ChildSpec::apart) |
//! | Must it always run? | [`Restart::Permanent`] |
//! | May it finish, but not fail? | [`Restart::Transient`] |
//! | Is one try enough? | [`Restart::Temporary`]; it leaves nothing behind |
//! | Many alike, come and go? | [`DynamicSpec`] under [`ChildSpec::dynamic`] |
//! | A future, not an actor? | [`TaskSupervisor`] under [`ChildSpec::tasks`] |
//! | Does its end end the group's purpose? | [`significant`](ChildSpec::significant) and [`AutoShutdown`] |
//! | May a sender be faster than the actor? | an [`Admission`] in front, its [`Permit`] in the message |
//!
//! # Defaults
//!
//! | | worker | supervisor |
//! |---|---|---|
//! | restart | permanent | permanent |
//! | shutdown | 5 s, then killed | no limit: its children have limits |
//! | start deadline | 60 s | none |
//! | backoff | first restart at once, then full jitter from 50 ms to 30 s | the same |
//! | intensity | | 1 restart in 5 s |
//! | auto-shutdown | | never |
//! | zombie after | | 2 s after the kill; the tree gives up at more than 8 |
//!
//! # How limits multiply
//!
//! A supervisor that gives up is one restart for its parent, so nested intensities multiply: with 5 below 3 below 2 a leaf
//! may crash (5+1)·(3+1)·(2+1) = 72 times before the root gives up. Keep the product in mind, make the periods longer
//! towards the root (a parent's period must be longer than a child takes to give up several times, or the parent never
//! counts two of them together), and let the root exit the process: [`SupervisorRef::wait`] tells when it gave up, and the
//! service manager is the supervisor above it. 5 in 30 s for leaves, 3 in 60 s for groups, 2 in 300 s for the root is a
//! start. Backoff delays stretch the time a crash loop takes, so a child with a backoff of 30 s never reaches 5 in 30 s:
//! choose the intensity for fast loops, the backoff for slow ones.
//!
//! # Exits
//!
//! [`ExitReason`] has OTP's classes. `stop(None)`, `"shutdown"` and `"shutdown: why"` are orderly; panics, errors, kills,
//! aborted tasks and any other stop text are abnormal. A supervisor that gave up ends with `shutdown: …`, which is orderly,
//! as in OTP: under its parent only a *permanent* supervisor is restarted by that.
//!
//! # Differences from OTP
//!
//! - Starts and stops do not block the supervisor, so a slow one delays only what depends on it.
//! - Restarts may wait ([`Backoff`]), starts have a deadline, and a name still held by the last incarnation is waited for
//!   without being counted.
//! - ractor cannot kill an actor that never yields its thread. Such a *zombie* is reported, left behind and replaced by an
//!   incarnation without its registry name; too many of them and the root gives up, because only the end of the process
//!   helps.
//! - A supervisor that is killed does not lose sight of its children: its next incarnation waits for their end.
//! - A supervisor that stops takes its children down one by one in its `post_stop`; ractor alone would kill them all at once.
//! - Ids are text, specifications are values, and what OTP checks at run time mostly cannot be written down here.
//!
//! # What to know about ractor
//!
//! - `pre_start` must not wait for its own supervisor: that waits for `pre_start`. Send yourself a message instead.
//! - `pre_start` that blocks before its first await blocks the supervisor; after it, only itself.
//! - A stop request overtakes queued messages and drops them; what must not be lost needs a place of its own.
//! - A call that timed out is still handled, see [`ChildRef::call`].
//! - With ractor's `cluster` feature anywhere in the build, switch on this crate's `cluster` feature too.

#![expect(
    clippy::disallowed_methods,
    reason = "this is where tasks get their supervisor, and where a seed is drawn when none is given"
)]

mod actor;
mod address;
mod admission;
mod child;
mod decision;
mod dynamic;
mod error;
mod exit;
mod handle;
mod hash;
mod id;
mod policy;
mod probe;
mod report;
mod shell;
mod snapshot;
mod stall;
mod state;
mod supervisor;
mod tasks;
mod tree;

pub use address::{CallError, CastError, ChildRef};
pub use admission::{Admission, Overloaded, Permit};
pub use child::{ChildSpec, StartContext, Started};
pub use dynamic::{DynamicRef, DynamicSpec};
pub use error::{ApiError, Ignore, StartError};
pub use exit::{ExitReason, SHUTDOWN};
pub use handle::{StartedChild, SupervisorRef};
pub use id::{ChildId, TreePath};
pub use policy::{
    AutoShutdown, Backoff, ChildKind, ChildPolicy, Flags, Intensity, Restart, SHUTDOWN_DEFAULT, START_DEADLINE_DEFAULT,
    Shutdown, SpecError, Strategy, ZOMBIE_AFTER_DEFAULT,
};
pub use report::{Fact, GiveUp, Report, ReportSink};
pub use snapshot::{ChildInfo, ChildStatus, SnapshotStrategy, TreeSnapshot};
pub use stall::stall;
pub use state::ChildCounts;
pub use supervisor::{Supervisor, SupervisorSpec, ZOMBIE_LIMIT_DEFAULT};
pub use tasks::{TaskExit, TaskRef, TaskRefused, TaskSupervisor, Tasks};
