//! Who may do what: API keys now; certificates, the secret store and the audit log belong here too.
//!
//! Knows no HTTP route. **Invariant**: the secret of a key is shown once, when it is made; only its hash is kept.

pub mod api_key;
pub mod keyring;
