//! The model inside this program: deterministic, without network, clock or randomness.

mod model;

pub use model::OfflineModel;
