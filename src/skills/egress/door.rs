//! Who may use the proxy: passes, one for each program that runs, and the socket behind which they are shown.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::allowed::Allowed;
use super::secret::EgressSecret;
use crate::runtime::entropy::Entropy;
use crate::skills::fetch::Fetcher;
use crate::skills::network::{NetworkPolicy, PolicyError};

/// The proxy, for those who send programs to it. Cheap to clone.
#[derive(Clone)]
pub struct Egress(Arc<Inner>);

struct Inner {
    socket: PathBuf,
    entropy: Entropy,
    passes: Mutex<HashMap<String, Guest>>,
    policy: NetworkPolicy,
    secrets: Vec<EgressSecret>,
    fetcher: Fetcher,
}

/// What a pass stands for.
#[derive(Clone)]
pub(super) struct Guest {
    pub(super) allowed: Arc<Allowed>,
    /// The names of the secrets that its requests are given.
    pub(super) secrets: Arc<[Arc<str>]>,
    /// Closed when the pass is given back.
    pub(super) present: watch::Receiver<()>,
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Egress({})", self.0.socket.display())
    }
}

impl Egress {
    /// A proxy at this socket, which somebody serves; inner addresses are reached as the policy says.
    pub fn new(socket: PathBuf, policy: NetworkPolicy, secrets: Vec<EgressSecret>, entropy: Entropy) -> Self {
        Self(Arc::new(Inner {
            socket,
            entropy,
            passes: Mutex::default(),
            fetcher: Fetcher::new(policy.clone()),
            policy,
            secrets,
        }))
    }

    /// A pass to these hosts, each as `host:port`; it holds until it is dropped, and its connections end with it.
    /// Of the secrets its requests are given those that `may_use` allows.
    pub fn pass(&self, hosts: &[String], may_use: impl Fn(&str) -> bool) -> Result<Pass, PolicyError> {
        let allowed = Arc::new(Allowed::parse(hosts)?);
        let secrets = self.0.secrets.iter().map(EgressSecret::name);
        let secrets = secrets.filter(|name| may_use(name)).cloned().collect();
        let word = format!("{:032x}", self.0.entropy.u128());
        let (held, present) = watch::channel(());
        self.lock().insert(
            word.clone(),
            Guest {
                allowed,
                secrets,
                present,
            },
        );
        Ok(Pass {
            egress: self.clone(),
            word,
            _held: held,
        })
    }

    pub(super) fn guest(&self, word: &str) -> Option<Guest> {
        self.lock().get(word).cloned()
    }

    pub(super) fn socket(&self) -> &Path {
        &self.0.socket
    }

    pub(super) fn policy(&self) -> &NetworkPolicy {
        &self.0.policy
    }

    pub(super) fn secrets(&self) -> &[EgressSecret] {
        &self.0.secrets
    }

    pub(super) fn fetcher(&self) -> &Fetcher {
        &self.0.fetcher
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Guest>> {
        self.0.passes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to use the proxy, for one program.
pub struct Pass {
    egress: Egress,
    word: String,
    _held: watch::Sender<()>,
}

impl Pass {
    /// Where the proxy is.
    pub fn socket(&self) -> &Path {
        self.egress.socket()
    }

    /// What it is told first.
    pub fn word(&self) -> &str {
        &self.word
    }
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pass")
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.egress.lock().remove(&self.word);
    }
}
