//! Commands that look after the store.

use clap::{Args, Subcommand};

use crate::domain::id::IncidentId;

/// `openclaw backup …`.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Make a backup of store, keys and configuration; the daemon may run meanwhile.
    Create {
        /// Leave the private keys out; a restored home then needs them from elsewhere.
        #[arg(long)]
        without_keys: bool,
    },
    /// List the backups, oldest first.
    List,
    /// Hold every file of a backup against its hash, and read every row of its store.
    Verify {
        /// Its name, or the path of its folder.
        backup: String,
    },
    /// Put a backup into this home, on which no daemon may run; what it replaces is kept.
    Restore {
        /// Its name, or the path of its folder.
        backup: String,
        /// Do it; without it only what would be replaced is shown.
        #[arg(long)]
        yes: bool,
    },
}

/// `openclaw store …`.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Read every row and say what is wrong; without a daemon the pages of the file are checked too.
    Verify,
    /// Make the file as small as what is in it.
    Compact,
    /// Bring a store of an earlier program to this one's layout, as a start does; the store as it was is kept beside it.
    Migrate {
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// `openclaw incident …`.
#[derive(Debug, Subcommand)]
pub enum IncidentCommand {
    /// List incidents, the newest first.
    List {
        /// Only those that go on.
        #[arg(long)]
        open: bool,
        /// How many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// Show one with its cause, what was done, and who has seen it.
    Show {
        /// Its id.
        id: IncidentId,
    },
    /// Say that you have seen them: nobody is told of them again.
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Ack {
        /// Their ids.
        #[arg(group = "which")]
        ids: Vec<IncidentId>,
        /// All that go on.
        #[arg(long, group = "which")]
        all: bool,
    },
}

/// `openclaw health`.
#[derive(Debug, Args)]
pub struct HealthArguments {
    /// Show the last round instead of making one.
    #[arg(long)]
    pub last: bool,
}
