//! A session: one attempt of an agent at one step, as an actor.
//!
//! Lifecycle: started by its agent with an order; loads what the journal has of the attempt when it is not new;
//! runs the turn loop; reports; ends. Supervised by `agents/sessions` (transient). A crash loses the model request
//! or read call in flight; the next incarnation goes on from the journal.

pub mod actor;
mod booking;
pub mod consent;
mod ending;
mod hearing;
mod incoming;
pub mod message;
mod preparing;
mod recalling;
pub mod shell;
pub mod surroundings;
mod tape;
mod under_way;
