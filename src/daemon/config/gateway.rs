//! The network rim as it is configured.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::error::{BadValue, Place};
use super::setting::Settings;
use crate::domain::agent::AgentDefinition;
use crate::gateway::limit::limits::LimitSettings;
use crate::gateway::rim::network::{Network, are_everybody};
use crate::gateway::routing::rule::{Rule, read_header};

/// The network rim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Where it listens.
    pub bind: IpAddr,
    /// Its port; 0 takes any free one.
    pub port: u16,
    /// Longest wait of a request for a run, in milliseconds.
    pub timeout_ms: u64,
    /// Time between comments on idle event streams, in milliseconds.
    pub keepalive_ms: u64,
    /// Time for a request's head and between two requests of a connection, in milliseconds.
    pub head_timeout_ms: u64,
    /// Time for a request's body, in milliseconds.
    pub body_timeout_ms: u64,
    /// Largest request head.
    pub head_bytes_max: usize,
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections of one address at once.
    pub each_max: usize,
    /// Age at which a connection takes no further request, in milliseconds.
    pub age_max_ms: u64,
    /// Time for what is under way when the daemon stops, in milliseconds.
    pub drain_ms: u64,
    /// Who brings the clients of others.
    pub proxies: Vec<Network>,
    /// TLS.
    pub tls: TlsConfig,
    /// Limits on what clients ask.
    pub limits: LimitSettings,
    /// Which agent gets a request that names none.
    pub rules: Vec<Rule>,
}

/// TLS of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Whose certificate is shown.
    pub mode: TlsMode,
    /// Further names of the daemon's own certificate.
    pub names: Vec<String>,
    /// Whether clients show a certificate of the daemon's own authority.
    pub asks: bool,
}

/// Whose certificate the gateway shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    /// None: it speaks in clear, to this machine or to a proxy.
    Off,
    /// The daemon's own.
    Internal,
    /// The operator's.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

impl TlsMode {
    /// Whether it speaks TLS.
    pub fn is_on(&self) -> bool {
        *self != Self::Off
    }
}

struct Reading<'settings, 'bad> {
    settings: &'settings Settings,
    bad: &'bad mut Vec<BadValue>,
}

impl Reading<'_, '_> {
    fn number(&self, name: &str) -> u64 {
        self.settings.number(&["gateway", name]).unwrap_or_default()
    }

    fn refuse(&mut self, path: &[&str], found: String, allowed: &str) {
        let origin = self.settings.get(path).map(|setting| setting.origin.clone());
        self.bad.push(BadValue {
            place: origin.unwrap_or(Place::Default),
            key: path.join("."),
            found,
            allowed: allowed.into(),
        });
    }

    fn proxies(&mut self) -> Vec<Network> {
        let path = ["gateway", "trustedProxies"];
        let mut proxies: Vec<Network> = Vec::new();
        for text in self.settings.texts(&path).unwrap_or_default() {
            match text.parse::<Network>() {
                // Each alone, and with those before it.
                Ok(network) if !are_everybody(&[proxies.as_slice(), &[network]].concat()) => proxies.push(network),
                _ => self.refuse(
                    &path,
                    format!("{text:?}"),
                    "networks such as \"127.0.0.1/32\", not everybody",
                ),
            }
        }
        proxies
    }

    fn limits(&self) -> LimitSettings {
        let rate = |name: &str| self.settings.number(&["gateway", "rateLimit", name]);
        let some = |name: &str| NonZeroU32::new(u32::try_from(rate(name)?).unwrap_or(u32::MAX));
        LimitSettings {
            per_key: some("perKey"),
            per_agent: some("perAgent"),
            tokens_per_key: some("tokensPerKey"),
            burst: some("burst"),
            at_once_per_key: rate("atOncePerKey").map(|count| count as usize),
            requests_max: self.number("maxRequests") as usize,
        }
    }

    fn rules(&mut self, agents: &[AgentDefinition]) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (name, _) in self.settings.names(&["gateway", "routes"]) {
            let at = |field: &'static str| ["gateway", "routes", name.as_str(), field];
            let text = |field: &'static str| self.settings.text(&at(field)).map(str::to_owned);
            let number = |field: &'static str| self.settings.number(&at(field)).map(|bytes| bytes as usize);
            let (wanted, header) = (text("agent"), text("header"));
            let agent = agents
                .iter()
                .find(|agent| Some(agent.name.as_str()) == wanted.as_deref());
            let read = header.as_deref().map(read_header);
            let Some(agent) = agent else {
                let names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
                let allowed = format!("an agent that there is: {}", names.join(", "));
                let found = wanted.map_or("nothing".into(), |wanted| format!("{wanted:?}"));
                self.refuse(&at("agent"), found, &allowed);
                continue;
            };
            if read == Some(None) {
                self.refuse(&at("header"), format!("{header:?}"), "\"name\" or \"name: value\"");
                continue;
            }
            rules.push(Rule {
                path: text("path"),
                header: read.flatten(),
                content_type: text("contentType"),
                bytes_min: number("minBytes"),
                bytes_max: number("maxBytes"),
                agent: agent.name.clone(),
            });
        }
        rules
    }

    fn tls(&mut self, folder: &Path) -> TlsConfig {
        let text = |name: &str| self.settings.text(&["gateway", "tls", name]);
        let mode = match (text("mode"), text("certificate"), text("key")) {
            (Some("internal"), ..) => TlsMode::Internal,
            (Some("files"), Some(certificate), Some(key)) => TlsMode::Files {
                certificate: folder.join(certificate),
                key: folder.join(key),
            },
            (Some("files"), ..) => {
                let allowed = "files together with gateway.tls.certificate and gateway.tls.key";
                self.refuse(&["gateway", "tls", "mode"], "files alone".into(), allowed);
                TlsMode::Off
            }
            _ => TlsMode::Off,
        };
        let asks = self.settings.text(&["gateway", "tls", "clients"]) == Some("known");
        if asks && !mode.is_on() {
            let allowed = "any, unless gateway.tls.mode is internal or files";
            self.refuse(&["gateway", "tls", "clients"], "known".into(), allowed);
        }
        TlsConfig {
            mode,
            names: self.settings.texts(&["gateway", "tls", "names"]).unwrap_or_default(),
            asks,
        }
    }
}

/// Reads it. Off this machine it needs TLS, its own or a proxy's: keys must not cross a network in clear.
pub fn gateway(
    settings: &Settings,
    folder: &Path,
    agents: &[AgentDefinition],
    bad: &mut Vec<BadValue>,
) -> GatewayConfig {
    let mut reading = Reading { settings, bad };
    let bind = settings.text(&["gateway", "bind"]).and_then(|text| text.parse().ok());
    let bind: IpAddr = bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let is_by_proxy = settings.text(&["gateway", "tls", "mode"]) == Some("proxy");
    let tls = reading.tls(folder);
    if !bind.is_loopback() && !tls.mode.is_on() && !is_by_proxy {
        let allowed = "a loopback address, unless gateway.tls.mode is internal or files, or proxy where one does it";
        reading.refuse(&["gateway", "bind"], bind.to_string(), allowed);
    }
    GatewayConfig {
        bind,
        port: reading.number("port") as u16,
        timeout_ms: reading.number("timeout"),
        keepalive_ms: reading.number("keepalive"),
        head_timeout_ms: reading.number("headTimeout"),
        body_timeout_ms: reading.number("bodyTimeout"),
        head_bytes_max: reading.number("maxHeaderBytes") as usize,
        body_bytes_max: reading.number("maxBodyBytes") as usize,
        connections_max: reading.number("maxConnections") as usize,
        each_max: reading.number("maxConnectionsPerAddress") as usize,
        age_max_ms: reading.number("maxConnectionAge"),
        drain_ms: reading.number("drain"),
        proxies: reading.proxies(),
        limits: reading.limits(),
        rules: reading.rules(agents),
        tls,
    }
}
