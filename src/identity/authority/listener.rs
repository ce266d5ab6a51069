//! TLS of a listener: which certificate it shows, and whose it asks for.
//!
//! New certificates are shown from the next handshake on; connections that are open go on. **Invariant**: files that
//! cannot be used change nothing: what was shown before is shown on, and the log says why.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::domain::fault::in_one_line;
use crate::domain::time::UtcMillis;
use crate::runtime::clock::Clock;
use crate::runtime::file::read_at_most;

use super::client::ClientError;
use super::expiry::{CertificateKind, Ending, validity};
use super::files::PEM_BYTES_MAX;
use super::handle::Authority;
use super::serving::{Shown, certified, forget_sessions};
use super::trust::{Peer, PeerRefused};

/// The word for HTTP/2 in a handshake.
pub const H2: &[u8] = b"h2";
/// How often files are looked at, at most.
const LOOK_EVERY_MS: u64 = 1_000;

/// Why the operator's own certificate is not shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no such file.
    #[error("find {}", .0.display())]
    Missing(PathBuf),
    /// What was read cannot be used.
    #[error("use the certificate of {}", path.display())]
    Use {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ClientError,
    },
}

/// Certificate and key of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// TLS of one listener. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Inside>);

struct Inside {
    name: &'static str,
    authority: Authority,
    kind: Kind,
}

enum Kind {
    /// The operators' listener: what the authority has made.
    Operators,
    /// The gateway.
    Gateway {
        files: Option<TlsFiles>,
        asks: bool,
        clock: Clock,
        made: Mutex<Made>,
    },
}

/// What is shown, and from what it was made.
struct Made {
    of: Arc<Shown>,
    looked_at: UtcMillis,
    seen: Seen,
    own: Option<Arc<CertifiedKey>>,
    /// Of the operator's own.
    names: Arc<[String]>,
    /// To this machine itself, and to others.
    near: Arc<ServerConfig>,
    far: Arc<ServerConfig>,
}

/// What tells that a file was changed.
type Seen = [Option<(SystemTime, u64)>; 2];

/// Shows the operator's certificate; the daemon's own to clients of this machine that ask for no name or for
/// `localhost`, because they know the internal authority and the address is no name of the operator's.
#[derive(Debug)]
struct Choice {
    internal: Arc<CertifiedKey>,
    own: Option<Arc<CertifiedKey>>,
    is_near: bool,
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_internal = self.is_near && hello.server_name().is_none_or(|name| name == "localhost");
        let own = self.own.as_ref().filter(|_| !is_internal);
        Some(own.unwrap_or(&self.internal).clone())
    }
}

fn seen(files: &TlsFiles) -> Seen {
    [&files.certificate, &files.key].map(|path| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len()))
    })
}

fn read(files: &TlsFiles) -> Result<Arc<CertifiedKey>, TlsError> {
    let text = |path: &PathBuf| match read_at_most(path, PEM_BYTES_MAX) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(TlsError::Missing(path.clone())),
        Err(source) => Err(TlsError::Read {
            path: path.clone(),
            source,
        }),
    };
    let read = certified(&text(&files.certificate)?, &text(&files.key)?);
    read.map(Arc::new).map_err(|source| TlsError::Use {
        path: files.certificate.clone(),
        source,
    })
}

fn names(of: &CertifiedKey) -> Arc<[String]> {
    let read = of
        .cert
        .first()
        .and_then(|own| webpki::EndEntityCert::try_from(own).ok());
    let names = read.iter().flat_map(|read| read.valid_dns_names());
    names.map(str::to_owned).collect()
}

fn config(of: &Shown, own: Option<&Arc<CertifiedKey>>, asks: bool, is_near: bool) -> Arc<ServerConfig> {
    // Where certificates are asked for, both sides are of this installation, and it has no old ones.
    let versions: &[&SupportedProtocolVersion] = if asks { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("the provider has suites for both versions");
    let builder = if asks {
        builder.with_client_cert_verifier(of.visitors.clone())
    } else {
        builder.with_client_cert_verifier(Arc::new(NoClientAuth))
    };
    let mut config = builder.with_cert_resolver(Arc::new(Choice {
        internal: of.own.clone(),
        own: own.cloned(),
        is_near,
    }));
    if asks {
        forget_sessions(&mut config);
    }
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

impl Made {
    fn new(of: Arc<Shown>, own: Option<Arc<CertifiedKey>>, asks: bool, looked_at: UtcMillis, seen: Seen) -> Self {
        Self {
            near: config(&of, own.as_ref(), asks, true),
            far: config(&of, own.as_ref(), asks, false),
            names: own.as_deref().map(names).unwrap_or_default(),
            of,
            looked_at,
            seen,
            own,
        }
    }
}

impl Tls {
    /// Of the operators' listener.
    pub fn operators(authority: Authority) -> Self {
        Self(Arc::new(Inside {
            name: "the operators",
            authority,
            kind: Kind::Operators,
        }))
    }

    /// Of the gateway: with the daemon's own certificate or with these files, and asking its clients for a certificate
    /// of this installation or not.
    ///
    /// **Errors**: the files cannot be used; at a start that is told rather than hidden behind another certificate.
    pub fn gateway(authority: Authority, files: Option<TlsFiles>, asks: bool, clock: Clock) -> Result<Self, TlsError> {
        let (seen, own) = match &files {
            Some(files) => (seen(files), Some(read(files)?)),
            None => (Seen::default(), None),
        };
        let made = Made::new(authority.shown(), own, asks, clock.now(), seen);
        Ok(Self(Arc::new(Inside {
            name: "the gateway",
            authority,
            kind: Kind::Gateway {
                files,
                asks,
                clock,
                made: Mutex::new(made),
            },
        })))
    }

    /// Whose listener it is, for the log.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The DNS names of the operator's own certificate, as it is shown now; none where the daemon's own is shown.
    pub fn names(&self) -> Arc<[String]> {
        match &self.0.kind {
            Kind::Operators => Arc::default(),
            Kind::Gateway { made, .. } => made.lock().unwrap_or_else(PoisonError::into_inner).names.clone(),
        }
    }

    /// The certificate of the operator's files, with the first end in its chain; none where there are no files, or the
    /// times cannot be read.
    pub fn ending(&self) -> Option<Ending> {
        let Kind::Gateway {
            files: Some(files),
            made,
            ..
        } = &self.0.kind
        else {
            return None;
        };
        let own = made.lock().unwrap_or_else(PoisonError::into_inner).own.clone()?;
        let (not_before, not_after) = own.cert.iter().filter_map(validity).min_by_key(|(_, ends)| *ends)?;
        Some(Ending {
            kind: CertificateKind::Files,
            of: files.certificate.display().to_string(),
            not_before,
            not_after,
        })
    }

    /// For the next connection, which came to `own` from `peer`.
    pub fn config(&self, own: Option<SocketAddr>, peer: SocketAddr) -> Arc<ServerConfig> {
        let shown = self.0.authority.shown();
        let Kind::Gateway {
            files,
            asks,
            clock,
            made,
        } = &self.0.kind
        else {
            return shown.operators.clone();
        };
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.now();
        let is_time = now.0.abs_diff(made.looked_at.0) >= LOOK_EVERY_MS;
        if let Some(files) = files.as_ref().filter(|_| is_time) {
            made.looked_at = now;
            let found = seen(files);
            if found != made.seen {
                match read(files) {
                    Ok(own) => {
                        *made = Made::new(shown.clone(), Some(own), *asks, now, found);
                        tracing::info!(file = %files.certificate.display(), "the gateway shows another certificate");
                    }
                    Err(error) => {
                        tracing::error!(error = %in_one_line(&error), "the gateway shows its old certificate on");
                        made.seen = found;
                    }
                }
            }
        }
        if !Arc::ptr_eq(&made.of, &shown) {
            *made = Made::new(shown, made.own.clone(), *asks, made.looked_at, made.seen);
        }
        let is_near = own.is_some_and(|own| own.ip() == peer.ip());
        if is_near { made.near.clone() } else { made.far.clone() }
    }

    /// Who showed this certificate; none where none is asked for.
    pub fn admit(&self, certificate: Option<&CertificateDer<'_>>) -> Result<Option<Peer>, PeerRefused> {
        match &self.0.kind {
            Kind::Gateway { asks: false, .. } => Ok(None),
            _ => self.0.authority.admit(certificate).map(Some),
        }
    }

    /// Resolves when a certificate that was let in is not good any more, with the reason.
    pub async fn lapse(&self, serial: [u8; 16]) -> PeerRefused {
        self.0.authority.lapse(serial).await
    }
}
