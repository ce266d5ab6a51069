//! The model inside this program: deterministic, without network, clock or randomness.
//!
//! It speaks the same protocol as any model: it reads a brief, asks for skills, gets results, and ends with text.
//! It touches nothing itself. Its answer is a pure function of the request, so a replayed request gives the same
//! answer byte for byte.

mod answer;
mod cast;
mod debugger;
mod draft;
mod draft_text;
mod executor;
mod figures;
mod intent;
mod judge;
mod model;
mod pattern;
mod plan_review;
mod planner;
mod session;
mod shape;
mod summary;
mod survey;
mod survey_code;
mod survey_documents;
mod survey_health;
mod survey_inventory;
#[cfg(test)]
mod tests;

pub use answer::answer;
pub use model::OfflineModel;
