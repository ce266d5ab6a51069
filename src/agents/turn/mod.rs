//! The turn loop of one attempt at one step: ask the model, make the calls it wants, give it the results, until
//! it answers. Pure: facts in, facts and effects out.

pub mod agreement;
mod compaction;
pub mod decision;
pub mod history;
pub mod state;
pub mod summary;

#[cfg(test)]
mod asking_tests;
#[cfg(test)]
mod compaction_tests;
#[cfg(test)]
mod consent_tests;
#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod tests;
