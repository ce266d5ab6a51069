//! Commands about trust: keys, certificates, the audit log.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::duration::parse_ms;
use crate::domain::id::KeyId;
use crate::identity::secrets::is_name;

/// `openclaw key …`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key; its text is shown this once.
    Create {
        /// A name for people.
        name: String,
        /// What it may do, such as runs:read, runs:* or *; agent:NAME for requests that name no agent; several times.
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

/// `openclaw tls …`.
#[derive(Debug, Subcommand)]
pub enum TlsCommand {
    /// Make the internal authority and its bundle, internal.pem; a start makes them too.
    Init,
    /// Show the authorities and their certificates.
    Show,
    /// Give out a certificate; its key is in the file alone.
    Issue {
        /// Whose: service/NAME, admin/NAME or node/NAME.
        identity: String,
        /// How long it lasts, such as 90d; 30 days when not given.
        #[arg(long, value_name = "TIME", value_parser = parse_ms)]
        life: Option<u64>,
        /// A further name of a server; may be given several times.
        #[arg(long, value_name = "NAME")]
        dns: Vec<String>,
        /// Where certificate and key are written.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Take the next step towards another authority: trust, issue, drop.
    Rotate {
        /// Only when this is the next step.
        #[arg(value_parser = ["trust", "issue", "drop"])]
        step: Option<String>,
    },
    /// Make the daemon's own certificate anew now; no connection is dropped.
    Renew,
    /// Take a certificate back and close its connections.
    Revoke {
        /// Its serial number, as `tls show` prints it.
        serial: String,
    },
}

/// `openclaw secret …`.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Keep a value, sealed; it is read from the standard input.
    Set {
        /// Its name; "secret:NAME" in the configuration stands for the value.
        #[arg(value_parser = secret_name)]
        name: String,
    },
    /// List the names; no value is ever shown.
    List,
    /// Remove a value.
    Remove {
        /// Its name.
        #[arg(value_parser = secret_name)]
        name: String,
    },
}

fn secret_name(text: &str) -> Result<String, String> {
    let allowed = "expected 1 to 64 letters, digits, `-`, `_` and `.`";
    is_name(text).then(|| text.to_owned()).ok_or_else(|| allowed.into())
}

/// `openclaw security …`.
#[derive(Debug, Subcommand)]
pub enum SecurityCommand {
    /// Try the daemon's own listeners as a stranger would; 0 good, 1 findings, 2 could not check.
    Check,
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
