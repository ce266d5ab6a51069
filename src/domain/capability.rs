//! What may be touched: capabilities as data, default deny.
//!
//! A capability is a kind and a scope (`net:docs.rs:443`, `exec:cargo`, `fs.read:src`). What a call may do is the
//! intersection of what its agent, its skill, its parent and its key may do ([`effective`]). Pure. Invariants: an
//! intersection is never larger than any of its parts; what is not granted is denied; a scope never holds `..`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Bytes of one capability as text.
pub const CAPABILITY_BYTES_MAX: usize = 512;
/// Capabilities in one set.
pub const CAPABILITIES_MAX: usize = 256;
/// The scope that covers every other of its kind.
const ANY: &str = "*";

/// What is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapabilityKind {
    /// Reads files; the scope is a path within the workspace, with all below it.
    FsRead,
    /// Writes files; the scope is a path within the workspace, with all below it.
    FsWrite,
    /// Connects; the scope is `host:port`, either may be `*`, a host may begin with `*.`.
    Net,
    /// Runs a program; the scope is its name.
    Exec,
    /// Uses a secret; the scope is its name.
    Secret,
    /// Gives work to an agent; the scope is its name.
    Agent,
    /// Uses the memory; the scope is a namespace.
    Memory,
}

impl CapabilityKind {
    /// Every kind, in the order in which they are listed to people.
    pub const ALL: [Self; 7] = [
        Self::FsRead,
        Self::FsWrite,
        Self::Net,
        Self::Exec,
        Self::Secret,
        Self::Agent,
        Self::Memory,
    ];

    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FsRead => "fs.read",
            Self::FsWrite => "fs.write",
            Self::Net => "net",
            Self::Exec => "exec",
            Self::Secret => "secret",
            Self::Agent => "agent",
            Self::Memory => "memory",
        }
    }
}

/// Says why a text is not a capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a capability: {allowed}")]
pub struct CapabilityError {
    /// What was given, cut to 80 characters.
    pub found: String,
    /// What is allowed there.
    pub allowed: &'static str,
}

/// One thing that may be touched.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    kind: CapabilityKind,
    scope: Arc<str>,
}

impl Capability {
    /// Checks the grammar of the scope and makes the capability. A path is brought to its shortest form.
    pub fn new(kind: CapabilityKind, scope: &str) -> Result<Self, CapabilityError> {
        let refuse = |allowed| {
            let found: String = format!("{}:{scope}", kind.as_str()).chars().take(80).collect();
            Err(CapabilityError { found, allowed })
        };
        let plain = |c: char| !c.is_control() && !c.is_whitespace();
        if scope.is_empty() || scope.len() > CAPABILITY_BYTES_MAX || !scope.chars().all(|c| plain(c) || c == ' ') {
            return refuse("a scope has 1 to 512 bytes without control characters");
        }
        let scope = match kind {
            _ if scope == ANY => ANY.to_owned(),
            CapabilityKind::FsRead | CapabilityKind::FsWrite => match path(scope) {
                Some(path) => path,
                None => return refuse("a path is relative to the workspace, without `..`"),
            },
            CapabilityKind::Net => match net(scope) {
                Some((host, port)) => format!("{}:{port}", host.to_ascii_lowercase()),
                None => return refuse("a place in the network is `host:port`; either may be `*`"),
            },
            _ if scope.contains(char::is_whitespace) => return refuse("a name has no spaces"),
            _ => scope.to_owned(),
        };
        Ok(Self {
            kind,
            scope: scope.into(),
        })
    }

    /// Everything of a kind.
    pub fn any(kind: CapabilityKind) -> Self {
        Self {
            kind,
            scope: ANY.into(),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> CapabilityKind {
        self.kind
    }

    /// Its scope as text.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Whether whoever has this one may do what `other` names.
    pub fn covers(&self, other: &Self) -> bool {
        self.meet(other).as_ref() == Some(other)
    }

    /// What both allow; none when that is nothing.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        if self.kind != other.kind {
            return None;
        }
        if &*self.scope == ANY {
            return Some(other.clone());
        }
        if &*other.scope == ANY || self.scope == other.scope {
            return Some(self.clone());
        }
        match self.kind {
            CapabilityKind::FsRead | CapabilityKind::FsWrite => {
                let below =
                    |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
                if below(&other.scope, &self.scope) {
                    Some(other.clone())
                } else {
                    below(&self.scope, &other.scope).then(|| self.clone())
                }
            }
            CapabilityKind::Net => {
                let (own, their) = (net(&self.scope)?, net(&other.scope)?);
                let host = meet_hosts(own.0, their.0)?;
                let port = if own.1 == ANY { their.1 } else { own.1 };
                let port_fits = own.1 == ANY || their.1 == ANY || own.1 == their.1;
                port_fits.then(|| Self {
                    kind: self.kind,
                    scope: format!("{host}:{port}").into(),
                })
            }
            _ => None,
        }
    }
}

/// A path in its shortest form; `*` for the whole workspace, none when it could lead out of it.
fn path(text: &str) -> Option<String> {
    if text.starts_with('/') {
        return None;
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return None;
    }
    Some(if parts.is_empty() {
        ANY.to_owned()
    } else {
        parts.join("/")
    })
}

/// Host and port; an IPv6 host stands in brackets.
fn net(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let in_brackets = host.starts_with('[') && host.ends_with(']');
    let host_is_plain = !host.is_empty()
        && (in_brackets || !host.contains(':'))
        && !host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@'))
        && (!host.contains(ANY) || host == ANY || host.strip_prefix("*.").is_some_and(|rest| !rest.contains(ANY)));
    let port_is_plain = port == ANY
        || port
            .parse::<u16>()
            .is_ok_and(|number| number > 0 && number.to_string() == port);
    (host_is_plain && port_is_plain).then_some((host, port))
}

fn meet_hosts<'a>(one: &'a str, two: &'a str) -> Option<&'a str> {
    let inside = |outer: &str, inner: &str| {
        outer == ANY || outer == inner || outer.strip_prefix('*').is_some_and(|suffix| inner.ends_with(suffix))
    };
    if inside(one, two) {
        Some(two)
    } else {
        inside(two, one).then_some(one)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.scope)
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Capability {
    type Err = CapabilityError;

    /// Reads `kind:scope`; a kind alone means everything of it.
    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        let (word, scope) = text.split_once(':').unwrap_or((text, ANY));
        match CapabilityKind::ALL.into_iter().find(|kind| kind.as_str() == word) {
            Some(kind) => Self::new(kind, scope),
            None => Err(CapabilityError {
                found: text.chars().take(80).collect(),
                allowed: "it begins with fs.read, fs.write, net, exec, secret, agent or memory",
            }),
        }
    }
}

/// What may be touched, all together. Empty means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CapabilitySet(BTreeSet<Capability>);

impl CapabilitySet {
    /// Reads a list of texts; the first wrong one is the error.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, CapabilityError> {
        let mut set = Self::default();
        for text in texts {
            if set.0.len() >= CAPABILITIES_MAX {
                return Err(CapabilityError {
                    found: text.chars().take(80).collect(),
                    allowed: "a set has at most 256 of them",
                });
            }
            set.insert(text.parse()?);
        }
        Ok(set)
    }

    /// Adds one; what another one covers is not kept.
    pub fn insert(&mut self, capability: Capability) {
        if !self.allows(&capability) {
            self.0.retain(|kept| !capability.covers(kept));
            self.0.insert(capability);
        }
    }

    /// Whether this may be done.
    pub fn allows(&self, wanted: &Capability) -> bool {
        self.0.iter().any(|capability| capability.covers(wanted))
    }

    /// Whether everything of this set is allowed by the other.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|capability| other.allows(capability))
    }

    /// What both allow.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let meets = self
            .0
            .iter()
            .flat_map(|one| other.0.iter().filter_map(|two| one.meet(two)));
        meets.collect()
    }

    /// Those of this set that the other does not allow.
    pub fn missing_from<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Capability> {
        self.0.iter().filter(|capability| !other.allows(capability))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Capability> {
        self.0.iter()
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        let mut set = Self::default();
        capabilities.into_iter().for_each(|capability| set.insert(capability));
        set
    }
}

/// What a call may do: what all of its parts (agent, skill, parent, key) allow. No part at all allows nothing.
pub fn effective(parts: &[&CapabilitySet]) -> CapabilitySet {
    let Some((first, rest)) = parts.split_first() else {
        return CapabilitySet::default();
    };
    rest.iter()
        .fold((*first).clone(), |so_far, part| so_far.intersection(part))
}

/// What all of them allow; none when there are none, which says nothing.
pub fn common<'a>(sets: impl IntoIterator<Item = &'a CapabilitySet>) -> Option<CapabilitySet> {
    sets.into_iter()
        .fold(None, |so_far, set| narrower(so_far, Some(set.clone())))
}

/// What both allow, where none stands for "says nothing".
pub fn narrower(one: Option<CapabilitySet>, two: Option<CapabilitySet>) -> Option<CapabilitySet> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.intersection(&two)),
        (one, two) => one.or(two),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_capability_is_read_in_its_shortest_form_or_refused() {
        let check = |text: &str, wanted: Option<&str>| {
            let read: Result<Capability, _> = text.parse();
            assert_eq!(
                read.as_ref().ok().map(ToString::to_string).as_deref(),
                wanted,
                "{text}: {read:?}"
            );
        };
        check("exec", Some("exec:*"));
        check("exec:cargo", Some("exec:cargo"));
        check("fs.read:./src//a/", Some("fs.read:src/a"));
        check("fs.read:.", Some("fs.read:*"));
        check("net:Docs.rs:443", Some("net:docs.rs:443"));
        check("net:*.rs:*", Some("net:*.rs:*"));
        check("net:[::1]:80", Some("net:[::1]:80"));
        check("memory:project", Some("memory:project"));
        for refused in [
            "",
            "exec:",
            "fs:src",
            "fs.read:../x",
            "fs.read:a/../../x",
            "fs.write:/etc",
            "net:docs.rs",
            "net:::1:80",
            "net:a b:80",
            "net:a:0",
            "net:a:080",
            "net:a:65536",
            "net:a*b:80",
            "exec:a b",
            "exec:a\0b",
        ] {
            check(refused, None);
        }
    }

    #[test]
    fn a_wider_scope_covers_a_narrower_one_and_not_its_neighbour() {
        let check = |wide: &str, narrow: &str, wanted: bool| {
            let (wide, narrow): (Capability, Capability) =
                (wide.parse().expect("sound"), narrow.parse().expect("sound"));
            assert_eq!(wide.covers(&narrow), wanted, "{wide} {narrow}");
        };
        check("fs.read:src", "fs.read:src/a.rs", true);
        check("fs.read:src", "fs.read:srcs", false);
        check("fs.read:src/a", "fs.read:src", false);
        check("fs.read", "fs.write:a", false);
        check("net:*:443", "net:docs.rs:443", true);
        check("net:*.rs:443", "net:docs.rs:443", true);
        check("net:*.rs:443", "net:rs:443", false);
        check("net:docs.rs:443", "net:docs.rs:80", false);
        check("exec:cargo", "exec:cargo-fmt", false);
        check("secret", "secret:token", true);
    }

    #[test]
    fn two_that_overlap_meet_in_what_both_allow() {
        let check = |one: &str, two: &str, wanted: &[&str]| {
            let set = |text: &str| CapabilitySet::parse(text.split(' ')).expect("sound");
            let met = set(one).intersection(&set(two));
            assert_eq!(
                met.iter().map(ToString::to_string).collect::<Vec<_>>(),
                wanted,
                "{one} and {two}"
            );
        };
        check("net:*:443", "net:docs.rs:*", &["net:docs.rs:443"]);
        check(
            "exec fs.read:src",
            "exec:cargo fs.read:src/a fs.read:b",
            &["fs.read:src/a", "exec:cargo"],
        );
        check("exec:cargo", "exec:make", &[]);
        check("exec exec:cargo", "exec:cargo exec", &["exec:*"]);
    }

    fn capability() -> impl Strategy<Value = Capability> {
        // Few and short scopes, so that overlaps are common.
        let path = proptest::collection::vec("[ab]", 0..3).prop_map(|parts| parts.join("/"));
        let host = prop_oneof![
            "[ab]",
            Just("*".to_owned()),
            Just("*.a".to_owned()),
            Just("b.a".to_owned())
        ];
        let port = prop_oneof![Just("*"), Just("80"), Just("443")];
        let net = (host, port).prop_map(|(host, port)| format!("{host}:{port}"));
        let name = prop_oneof!["[ab]", Just("*".to_owned())];
        prop_oneof![
            (
                prop_oneof![Just(CapabilityKind::FsRead), Just(CapabilityKind::FsWrite)],
                path
            )
                .prop_map(|(kind, path)| (kind, if path.is_empty() { ".".to_owned() } else { path })),
            net.prop_map(|net| (CapabilityKind::Net, net)),
            (
                prop_oneof![Just(CapabilityKind::Exec), Just(CapabilityKind::Memory)],
                name
            ),
        ]
        .prop_map(|(kind, scope)| Capability::new(kind, &scope).expect("generated soundly"))
    }

    fn set() -> impl Strategy<Value = CapabilitySet> {
        proptest::collection::vec(capability(), 0..6).prop_map(|all| all.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_is_effective_is_never_larger_than_any_part_and_lacks_nothing_that_all_allow(
            agent in set(), skill in set(), parent in set(), key in set(), wanted in capability(),
        ) {
            let parts = [&agent, &skill, &parent, &key];
            let granted = effective(&parts);
            for part in parts {
                prop_assert!(granted.is_subset_of(part), "{granted:?} {part:?}");
            }
            prop_assert_eq!(granted.allows(&wanted), parts.iter().all(|part| part.allows(&wanted)));
            prop_assert_eq!(effective(&[]), CapabilitySet::default());
        }

        #[test]
        fn a_capability_reads_back_and_meets_symmetrically(one in capability(), two in capability()) {
            prop_assert_eq!(one.to_string().parse::<Capability>(), Ok(one.clone()));
            prop_assert_eq!(one.meet(&two), two.meet(&one));
            if let Some(met) = one.meet(&two) {
                prop_assert!(one.covers(&met) && two.covers(&met));
            }
        }
    }
}
