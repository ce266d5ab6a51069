//! Whether a request may be sent now: one gate for each provider, model and key, shared by all who ask it.
//!
//! A gate is a breaker (a provider that is down is not asked by everybody), a cool-down (what one request was told of
//! waiting, all of them keep) and a limiter (fed by the provider's headers, or found out where it sends none).

pub mod shared;
pub mod state;
#[cfg(test)]
mod tests;
