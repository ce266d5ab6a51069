//! The internal certificate authority: certificates by which parts of this installation and its operators know each
//! other.
//!
//! **Shape**: a folder with `internal.pem` (all authorities that are trusted), one certificate and key for each
//! authority, and `operator.pem` (the client certificate of whoever owns the home, with its key). Keys are readable by
//! their owner alone. Whose a certificate is stands in its URI, `spiffe://openclaw.internal/admin/operator`; other names
//! count for nothing. Actors of one process need no certificates among each other.
//!
//! **Invariants**: a certificate that the store does not know, or knows as revoked, opens nothing, whoever signed it;
//! what is revoked or no longer trusted loses its open connections too; a certificate that would not pass its own check
//! is not put to use.

pub mod client;
pub mod expiry;
pub mod files;
pub mod handle;
pub mod issue;
pub mod listener;
pub mod name;
pub mod renewal;
pub mod serving;
pub mod trust;
