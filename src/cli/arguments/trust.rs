//! Commands about trust: keys and the audit log.

use clap::{Args, Subcommand};

use crate::cli::duration::parse_ms;
use crate::domain::id::KeyId;

/// `openclaw key …`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key; its text is shown this once.
    Create {
        /// A name for people.
        name: String,
        /// What it may do, such as runs:read, runs:* or *; may be given several times.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// It ends by itself after this time, such as 90d.
        #[arg(long, value_name = "TIME", value_parser = parse_ms)]
        expires: Option<u64>,
    },
    /// List the keys: what they may do, when they were last used.
    List,
    /// Give a key a new secret; it is shown this once.
    Rotate {
        /// The key.
        id: KeyId,
        /// The old secret stays valid for this time, such as 1h; it ends at once when not given.
        #[arg(long, value_name = "TIME", value_parser = parse_ms)]
        overlap: Option<u64>,
    },
    /// Take a key back: its requests are refused and its open streams end.
    Revoke {
        /// The key.
        id: KeyId,
    },
}

/// `openclaw audit`.
#[derive(Debug, Args)]
pub struct AuditArguments {
    /// Hold every row against the hash chain and the signed checkpoints; names the first that does not hold.
    #[arg(long)]
    pub verify: bool,
    /// How many rows, the newest first.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Only rows before this one.
    #[arg(long, value_name = "N")]
    pub before: Option<u64>,
}
