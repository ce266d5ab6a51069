//! Whose a certificate is.

use std::fmt;

/// The name space of this program's certificates. Those of another installation have another authority.
const URI_PREFIX: &str = "spiffe://openclaw.internal/";
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 64;

/// What kind of thing a certificate names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdentityKind {
    /// A program that serves others of this installation.
    Service,
    /// A person or program that may administer.
    Admin,
    /// A daemon on another machine.
    Node,
}

/// Whose a certificate is, such as `admin/operator`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What kind.
    pub kind: IdentityKind,
    name: String,
}

/// Says why a text names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected service/NAME, admin/NAME or node/NAME with letters, digits, `-`, `_` and `.`, found `{0}`")]
pub struct IdentityError(String);

impl IdentityKind {
    const ALL: [Self; 3] = [Self::Service, Self::Admin, Self::Node];

    /// The word before the slash.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Admin => "admin",
            Self::Node => "node",
        }
    }
}

impl Identity {
    /// The daemon itself.
    pub fn daemon() -> Self {
        Self {
            kind: IdentityKind::Service,
            name: "daemon".into(),
        }
    }

    /// Whoever owns the home.
    pub fn operator() -> Self {
        Self {
            kind: IdentityKind::Admin,
            name: "operator".into(),
        }
    }

    /// The name that stands in a certificate.
    pub fn uri(&self) -> String {
        format!("{URI_PREFIX}{self}")
    }

    /// Reads the name in a certificate.
    pub fn from_uri(uri: &str) -> Option<Self> {
        uri.strip_prefix(URI_PREFIX)?.parse().ok()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

impl std::str::FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let refuse = || IdentityError(crate::domain::text::preview(text, 80));
        let (word, name) = text.split_once('/').ok_or_else(refuse)?;
        let kind = IdentityKind::ALL.into_iter().find(|kind| kind.as_str() == word);
        let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        match kind {
            Some(kind) if is_name => Ok(Self {
                kind,
                name: name.to_owned(),
            }),
            _ => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_none_of_another_domain_or_form_is_taken() {
        let check = |uri: &str, expected: Option<&str>| {
            assert_eq!(
                Identity::from_uri(uri).map(|name| name.to_string()).as_deref(),
                expected,
                "{uri}"
            );
        };
        check(&Identity::operator().uri(), Some("admin/operator"));
        check("spiffe://openclaw.internal/node/a-1.b", Some("node/a-1.b"));
        check("spiffe://openclaw.internal.evil.example/admin/x", None);
        check("spiffe://elsewhere/admin/x", None);
        check("https://openclaw.internal/admin/x", None);
        check("spiffe://openclaw.internal/admin", None);
        check("spiffe://openclaw.internal/admin/", None);
        check("spiffe://openclaw.internal/admin/../x", None);
        check("spiffe://openclaw.internal/admin/x/y", None);
        check("spiffe://openclaw.internal/root/x", None);
    }
}
