//! Who may do what: API keys and what they carry, the internal authority and its certificates, the audit log with its
//! signed checkpoints, the secret store.
//!
//! Knows no HTTP route. **Invariants**: the secret of a key is shown once, when it is made; only its hash is kept. What
//! a key may do stands in its record alone. Each change of trust is committed together with its row in the audit log.

pub mod api_key;
pub mod audit;
pub mod authority;
pub mod checkpoint;
pub mod keyring;
pub mod scope;
pub mod secrets;
