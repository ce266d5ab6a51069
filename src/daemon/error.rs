//! Why a daemon does not start, or ends early.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use supervisors::ExitReason;

use crate::domain::code::{self, Code};
use crate::identity::audit::AuditError;
use crate::identity::authority::handle::AuthorityError;
use crate::identity::authority::listener::TlsError;
use crate::identity::keyring::KeyError;
use crate::identity::secrets::SecretStoreError;
use crate::llm::registry::RegistryError;
use crate::skills::catalogue::CatalogueError;
use crate::skills::network::PolicyError;
use crate::skills::spool::SpoolError;
use crate::storage::error::StoreError;
use crate::storage::migration::error::MigrationError;

use super::config::HomeError;
use super::programs::EgressError;
use super::store_layout;

/// Why the daemon did not start or ended early.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store cannot be opened or written.
    #[error("open the store")]
    Store(#[source] StoreError),
    /// The store is of an earlier program and cannot be migrated.
    #[error("bring the store to the layout of this program")]
    Migration(#[source] MigrationError),
    /// There is no room on the disk to start with.
    #[error("start: there is no room on the disk of {}", folder.display())]
    DiskFull {
        /// The state folder.
        folder: PathBuf,
    },
    /// A restore was begun and not ended.
    #[error("start: a restore into this home was begun and not ended")]
    Restoring,
    /// The address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The audit log cannot be used.
    #[error("open the audit log")]
    Audit(#[source] AuditError),
    /// The internal authority cannot be used.
    #[error("open the internal authority")]
    Authority(#[source] AuthorityError),
    /// The gateway's certificate cannot be used.
    #[error("use the gateway's certificate")]
    Tls(#[source] TlsError),
    /// The key of the secrets cannot be one.
    #[error("open the secrets")]
    Secrets(#[source] SecretStoreError),
    /// The keys cannot be read.
    #[error("open the keys")]
    Keys(#[source] KeyError),
    /// The models cannot be built.
    #[error("build the models")]
    Models(#[source] RegistryError),
    /// The skills make no catalogue.
    #[error("build the catalogue of skills")]
    Catalogue(#[source] CatalogueError),
    /// A command skill cannot be loaded.
    #[error("load the command skill `{skill}`: {findings}")]
    CommandSkill {
        /// Which.
        skill: String,
        /// What is wrong.
        findings: String,
    },
    /// The allow list is wrong.
    #[error("read skills.network.allow")]
    Network(#[source] PolicyError),
    /// There is no way from programs to the network.
    #[error("make the proxy of programs")]
    Egress(#[source] EgressError),
    /// The spool cannot be opened.
    #[error("open the spool of programs")]
    Spool(#[source] SpoolError),
    /// No agent has the role of a planner.
    #[error("find a planner: no agent has the role `planner`")]
    NoPlanner,
    /// The tree did not start.
    #[error("start the supervision tree")]
    Tree(#[source] supervisors::StartError),
    /// The file that says where the daemon is cannot be written.
    #[error("say where the daemon is")]
    Home(#[source] HomeError),
    /// A thread of the service manager's side cannot be made.
    #[error("start the thread that speaks with the service manager")]
    Manager(#[source] io::Error),
    /// Signals cannot be received.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
    /// The tree gave up: a part failed again and again.
    #[error("keep the parts alive: the root of the supervision tree gave up ({0})")]
    GaveUp(ExitReason),
}

impl DaemonError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Store(StoreError::Locked { .. }) => code::ALREADY_RUNNING,
            Self::Store(StoreError::Version { .. }) => code::STORE_VERSION,
            Self::Store(StoreError::Corrupt { .. }) => code::STORE_CORRUPT,
            Self::Migration(error) => error.code(),
            Self::Store(_) | Self::GaveUp(_) => code::STORE_FAILED,
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => code::ADDRESS_IN_USE,
            Self::Listen { .. } | Self::NoPlanner | Self::Network(_) | Self::Egress(EgressError::Secret { .. }) => {
                code::CONFIG_VALUE
            }
            Self::DiskFull { .. } => code::DISK_FULL,
            Self::Restoring => code::RESTORE_UNFINISHED,
            Self::Audit(error) => error.code(),
            Self::Keys(error) => error.code(),
            Self::Secrets(error) => error.code(),
            Self::Tls(_) => code::TLS_FILES,
            Self::Authority(error) => error.code(),
            Self::Models(_) => code::MODEL_NOT_CONFIGURED,
            Self::Catalogue(_) | Self::CommandSkill { .. } => code::SKILL_DECLARATION,
            Self::Spool(_) | Self::Home(_) | Self::Egress(EgressError::Listen { .. }) => code::HOME_FILE,
            Self::Tree(_) | Self::Signals(_) | Self::Manager(_) => code::BUG,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        if let Self::Migration(error) = self {
            return store_layout::hint(error);
        }
        match self.code().id {
            id if id == code::ALREADY_RUNNING.id => Some("`openclaw status` shows the daemon that runs on this home"),
            id if id == code::ADDRESS_IN_USE.id => Some("`openclaw config set gateway.port N` chooses another port"),
            id if id == code::TLS_FILES.id => Some("gateway.tls.certificate and gateway.tls.key name PEM files"),
            id if id == code::CONFIG_VALUE.id => Some("`openclaw config validate` checks the configuration"),
            id if id == code::SECRET_SEALED.id => Some(
                "OPENCLAW_PASSPHRASE has at least 12 bytes, the systemd credential openclaw-secret-key at least 16",
            ),
            id if id == code::STORE_VERSION.id => Some("start the newer program that wrote the store"),
            _ => None,
        }
    }
}
