//! What every layer stands on: the store with the one who writes to it, who may do what, and where clients come in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::identity::audit::AuditLog;
use crate::identity::authority::handle::Authority;
use crate::identity::authority::listener::Tls;
use crate::identity::keyring::Keyring;
use crate::identity::secrets::{KeySources, SecretStore};
use crate::runtime::bus::Bus;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::crash_point::CrashPoint;
use crate::runtime::entropy::Entropy;
use crate::runtime::room::watcher::disk_of;
use crate::runtime::telemetry::Telemetry;
use crate::storage::reserve::{RESERVE_BYTES_MAX, Reserve};
use crate::storage::store::Store;

use super::adapters::open_secrets;
use super::config::model::Stored;
use super::config::{Config, Home};
use super::config_seen;
use super::error::DaemonError;
use super::rim;
use super::service::sockets::Handed;

/// Room without which a start cannot write its small files.
const START_BYTES_MIN: u64 = 512 * 1024;
/// Longest wait for that room.
const START_ROOM_MAX: Duration = Duration::from_secs(600);

/// What has been opened.
pub(super) struct Foundation {
    /// Room on the disk for the moment in which there is none.
    pub reserve: Arc<Reserve>,
    /// The store.
    pub store: Store,
    /// Tells what was committed.
    pub bus: Bus,
    /// Counts.
    pub telemetry: Telemetry,
    /// Who writes.
    pub committer: Committer,
    /// What was done by whom.
    pub audit: AuditLog,
    /// Keys of clients.
    pub keyring: Keyring,
    /// Certificates.
    pub authority: Authority,
    /// Secrets.
    pub secrets: SecretStore,
    /// Those of them that are open.
    pub stored: Stored,
    /// The gateway's socket; clients that come early wait in it.
    pub listener: TcpListener,
    /// Its address.
    pub address: SocketAddr,
    /// Its TLS; none when it speaks in clear.
    pub tls: Option<Tls>,
    /// The operators' socket.
    pub admin_listener: TcpListener,
    /// Its address.
    pub admin: SocketAddr,
}

/// The listener of the operators. Where the default port is taken, as by a second daemon on the same machine, any free
/// one will do, because commands find it in `daemon.json`; a port that somebody chose is held to.
async fn listen_for_operators(config: &Config) -> Result<(TcpListener, SocketAddr), DaemonError> {
    let mut wanted = SocketAddr::new(config.admin.bind, config.admin.port);
    let mut listening = TcpListener::bind(wanted).await;
    if !config.admin.is_port_chosen && matches!(&listening, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
        wanted.set_port(0);
        listening = TcpListener::bind(wanted).await;
    }
    let listening = listening.and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    listening.map_err(|source| DaemonError::Listen {
        address: wanted,
        source,
    })
}

/// The reserve of the store. A process that starts on a full disk gives up what an earlier one has left of it, because
/// a start writes small files; where even that makes no room it waits, for as long as a start may take.
async fn reserve(home: &Home, config: &Config) -> Result<Arc<Reserve>, DaemonError> {
    let folder = home.state_dir();
    let bytes = (config.store_free_min / 4).min(RESERVE_BYTES_MAX);
    let free = || disk_of(folder).map_or(u64::MAX, |disk| disk.free);
    if free() >= config.store_free_min {
        return Ok(Arc::new(Reserve::of(&home.store_file(), bytes)));
    }
    let reserve = Reserve::given_up(&home.store_file(), bytes);
    let waiting = async {
        if free() < START_BYTES_MIN {
            tracing::error!(folder = %folder.display(), "waiting for room on the disk");
        }
        while free() < START_BYTES_MIN {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let waited = tokio::time::timeout(START_ROOM_MAX, waiting).await;
    waited.map_err(|_| DaemonError::DiskFull { folder: folder.into() })?;
    Ok(Arc::new(reserve))
}

impl Foundation {
    /// Opens all of it, one thing after the other.
    pub async fn lay(
        home: &Home,
        config: &Config,
        handed: &Handed,
        (clock, entropy): (&Clock, &Entropy),
    ) -> Result<Self, DaemonError> {
        let reserve = reserve(home, config).await?;
        let store = Store::open_reserved(&home.store_file(), config.store_cache_bytes, reserve.clone());
        let store = store.map_err(DaemonError::Store)?;
        let wanted = SocketAddr::new(config.gateway.bind, config.gateway.port);
        let listening = handed.listen(wanted).await;
        let listener = listening.map_err(|source| DaemonError::Listen {
            address: wanted,
            source,
        })?;
        let address = listener.local_addr().map_err(|source| DaemonError::Listen {
            address: wanted,
            source,
        })?;
        let bus = Bus::default();
        let crash_point = CrashPoint::from_variables(|name| std::env::var(name).ok());
        let telemetry = Telemetry::default();
        let committer = Committer::start_with(store.clone(), bus.clone(), crash_point, telemetry.clone());
        let committer = committer.map_err(DaemonError::Store)?;

        let audit = AuditLog::open(
            store.clone(),
            committer.clone(),
            clock.clone(),
            entropy,
            home.state_dir(),
        );
        let audit = audit.map_err(DaemonError::Audit)?;
        config_seen::note_edits(home, &audit).await;
        let keyring = Keyring::open(
            store.clone(),
            committer.clone(),
            clock.clone(),
            entropy.clone(),
            audit.clone(),
        );
        let keyring = keyring.map_err(DaemonError::Keys)?;
        let (admin_listener, admin) = listen_for_operators(config).await?;
        let tls_dir = home.tls_dir();
        let names = rim::names(config);
        let authority = Authority::open(
            &tls_dir,
            names,
            store.clone(),
            audit.clone(),
            clock.clone(),
            entropy.clone(),
        );
        let authority = authority.await.map_err(DaemonError::Authority)?;
        let tls = rim::tls(config, &authority, clock).map_err(DaemonError::Tls)?;
        let secrets = SecretStore::new(
            store.clone(),
            audit.clone(),
            clock.clone(),
            entropy.clone(),
            home.state_dir(),
            KeySources::of_environment(|name| std::env::var(name).ok()),
        );
        let secrets = secrets.map_err(DaemonError::Secrets)?;
        let stored = open_secrets(&secrets).await;
        Ok(Self {
            reserve,
            store,
            bus,
            telemetry,
            committer,
            audit,
            keyring,
            authority,
            secrets,
            stored,
            listener,
            address,
            tls,
            admin_listener,
            admin,
        })
    }
}
