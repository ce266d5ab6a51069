//! Names that people and models choose, held to one grammar so that they are safe in paths, labels and logs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::text::preview;

/// Says why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a valid {kind}: 1 to 64 characters of {allowed}")]
pub struct NameError {
    /// What was to be named.
    pub kind: &'static str,
    /// The characters that may be used.
    pub allowed: &'static str,
    /// What was given, on one line, cut to 80 bytes.
    pub found: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $allowed:literal, $test:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the grammar and makes the name.
            pub fn new(text: &str) -> Result<Self, NameError> {
                let allowed: fn(char) -> bool = $test;
                let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
                if text.len() <= 64 && starts_well && text.chars().all(allowed) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(NameError { kind: $kind, allowed: $allowed, found: preview(text, 80) })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// An agent, as configured.
    AgentName, "agent name", "a-z, 0-9, `-` and `_`, starting with a letter or digit",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_'
}
name! {
    /// A step within its plan.
    StepId, "step id", "a-z, 0-9, `-` and `_`, starting with a letter or digit",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_'
}
name! {
    /// A skill; dots group skills of one family (`fs.read`).
    SkillName, "skill name", "a-z, 0-9, `-`, `_` and `.`, starting with a letter or digit",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_' || c == '.'
}
name! {
    /// A skill package: a folder with a `SKILL.md` (`pdf-forms`).
    PackageName, "skill package name", "a-z, 0-9 and `-`, starting with a letter or digit",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}
name! {
    /// A schedule.
    ScheduleName, "schedule name", "a-z, 0-9, `-` and `_`, starting with a letter or digit",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_'
}
name! {
    /// A server of the Model Context Protocol, as configured.
    ServerName, "server name", "a-z, 0-9, `-` and `_`, starting with a letter or digit",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_'
}
name! {
    /// A model alias from the configuration (`claude-sonnet`).
    ModelAlias, "model alias", "a-z, 0-9, `-`, `_` and `.`, starting with a letter or digit",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_' || c == '.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_paths_and_labels() {
        let check = |text: &str, agent: bool, skill: bool| {
            assert_eq!(AgentName::new(text).is_ok(), agent, "agent name {text:?}");
            assert_eq!(SkillName::new(text).is_ok(), skill, "skill name {text:?}");
        };
        check("planner", true, true);
        check("code-reviewer_2", true, true);
        check("fs.read", false, true);
        check("", false, false);
        check("..", false, false);
        check("-x", false, false);
        check("Planner", false, false);
        check("pl/anner", false, false);
        check("ｐlanner", false, false);
        check(&"a".repeat(64), true, true);
        check(&"a".repeat(65), false, false);
    }
}
