//! The turn loop of one attempt at one step: ask the model, make the calls it wants, give it the results, until
//! it answers. Pure: facts in, facts and effects out.

pub mod agreement;
pub mod decision;
pub mod state;

#[cfg(test)]
mod asking_tests;
#[cfg(test)]
mod consent_tests;
#[cfg(test)]
mod tests;
