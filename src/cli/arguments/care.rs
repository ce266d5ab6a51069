//! Commands that look after the store.

use clap::Subcommand;

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
}
