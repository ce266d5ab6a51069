//! The listeners as they are configured, and how this machine reaches them itself.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::gateway::parts::GatewaySettings;
use crate::gateway::rim::bounds::Bounds;
use crate::identity::authority::expiry::Ending;
use crate::identity::authority::handle::Authority;
use crate::identity::authority::listener::{Tls, TlsError, TlsFiles};
use crate::runtime::clock::Clock;

use super::config::Config;
use super::config::gateway::TlsMode;

/// Longest time in which a client may take nothing of what it is sent.
const STALL_MAX: Duration = Duration::from_secs(30);

/// The limits of every connection.
pub fn bounds(config: &Config) -> Bounds {
    Bounds {
        head: Duration::from_millis(config.gateway.head_timeout_ms),
        head_bytes_max: config.gateway.head_bytes_max,
        age_max: Duration::from_millis(config.gateway.age_max_ms),
        stall: STALL_MAX,
        drain: Duration::from_millis(config.gateway.drain_ms),
    }
}

/// The limits of the gateway's routes.
pub fn settings(config: &Config) -> GatewaySettings {
    GatewaySettings {
        timeout: Duration::from_millis(config.gateway.timeout_ms),
        keepalive: Duration::from_millis(config.gateway.keepalive_ms),
        body_deadline: Duration::from_millis(config.gateway.body_timeout_ms),
        body_bytes_max: config.gateway.body_bytes_max,
        connections_max: config.gateway.connections_max,
        proxies: config.gateway.proxies.clone().into(),
    }
}

/// Further names of the daemon's own certificate: those of the file, and the address that the gateway listens on.
pub fn names(config: &Config) -> Vec<String> {
    let tls = &config.gateway.tls;
    let mut names = tls.names.clone();
    let bind = config.gateway.bind;
    if tls.mode.is_on() && !bind.is_loopback() && !bind.is_unspecified() {
        names.push(bind.to_string());
    }
    names
}

/// TLS of the gateway; none when it speaks in clear.
///
/// **Errors**: the operator's files cannot be used.
pub fn tls(config: &Config, authority: &Authority, clock: &Clock) -> Result<Option<Tls>, TlsError> {
    let files = match &config.gateway.tls.mode {
        TlsMode::Off => return Ok(None),
        TlsMode::Internal => None,
        TlsMode::Files { certificate, key } => Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        }),
    };
    Tls::gateway(authority.clone(), files, config.gateway.tls.asks, clock.clone()).map(Some)
}

/// Whose certificates are looked after.
#[derive(Clone)]
pub struct Certificates {
    /// What it made itself.
    pub authority: Authority,
    /// What the gateway shows; none when it speaks in clear.
    pub gateway: Option<Tls>,
}

impl Certificates {
    /// Those by whose end something stops to work, the next one first.
    pub fn endings(&self) -> Vec<Ending> {
        let mut endings = self.authority.endings();
        endings.extend(self.gateway.as_ref().and_then(Tls::ending));
        endings.sort_by_key(|ending| ending.not_after);
        endings
    }
}

/// Where this machine reaches what listens at an address: no command sends a key to "every address".
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// How this machine reaches the gateway.
#[derive(Debug, Clone)]
pub struct Way {
    /// Where.
    pub address: SocketAddr,
    /// Over TLS: the folder of the internal authority, by which it is known and shown who asks.
    pub tls_dir: Option<PathBuf>,
}

impl Way {
    /// Its address with scheme.
    pub fn url(&self) -> String {
        let scheme = if self.tls_dir.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}
