//! What a run does next: a pure function of its state, the time and what the surroundings say.

mod advancing;
mod answering;
mod ending;
mod granting;
mod order;
mod react;
mod stopping;
mod terms;
mod turn;
mod undoing;

pub use answering::{AnswerRefused, Judged, judge_approval, judge_resolution, same_answer};
pub use react::react;
pub use terms::{After, AttemptEnd, Effect, Event, Live, Reaction, RunLoop, SlotWish, Surroundings};
