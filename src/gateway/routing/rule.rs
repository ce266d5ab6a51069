//! One rule: what a request has to be like for an agent to get it.

use crate::domain::name::AgentName;

/// A rule of the configuration; what it does not say is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The path begins so.
    pub path: Option<String>,
    /// The header is there, and has this value when one is said.
    pub header: Option<(String, Option<String>)>,
    /// The content type begins so.
    pub content_type: Option<String>,
    /// The body has at least so many bytes.
    pub bytes_min: Option<usize>,
    /// The body has at most so many bytes.
    pub bytes_max: Option<usize>,
    /// Who gets it.
    pub agent: AgentName,
}

/// What a rule looks at.
pub struct Look<'request> {
    /// The path.
    pub path: &'request str,
    /// The value of a header, by its lower-case name.
    pub header: &'request dyn Fn(&str) -> Option<&'request str>,
    /// Bytes of the body.
    pub bytes: usize,
}

impl Rule {
    /// Whether a request is like it.
    pub fn takes(&self, look: &Look<'_>) -> bool {
        let has_path = self
            .path
            .as_ref()
            .is_none_or(|path| look.path.starts_with(path.as_str()));
        let has_header = self.header.as_ref().is_none_or(|(name, wanted)| {
            let value = (look.header)(name);
            value.is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value))
        });
        let has_type = self.content_type.as_ref().is_none_or(|wanted| {
            let value = (look.header)("content-type").unwrap_or("");
            value
                .get(..wanted.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(wanted))
        });
        has_path
            && has_header
            && has_type
            && self.bytes_min.is_none_or(|min| look.bytes >= min)
            && self.bytes_max.is_none_or(|max| look.bytes <= max)
    }
}

/// Reads `name` or `name: value`.
pub fn read_header(text: &str) -> Option<(String, Option<String>)> {
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, Some(value.trim().to_owned())),
        None => (text, None),
    };
    let name = name.trim().to_ascii_lowercase();
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    is_name.then_some((name, value.filter(|value| !value.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule {
            path: None,
            header: None,
            content_type: None,
            bytes_min: None,
            bytes_max: None,
            agent: AgentName::new("coder").expect("a name"),
        }
    }

    #[test]
    fn a_rule_takes_what_is_like_all_that_it_says() {
        let check = |rule: Rule, expected: bool| {
            let header = |name: &str| match name {
                "x-team" => Some("red"),
                "content-type" => Some("Application/JSON; charset=utf-8"),
                _ => None,
            };
            let look = Look {
                path: "/v1/messages",
                header: &header,
                bytes: 100,
            };
            assert_eq!(rule.takes(&look), expected, "{rule:?}");
        };
        check(rule(), true);
        for (path, expected) in [("/v1/", true), ("/v1/messages", true), ("/v1/runs", false)] {
            check(
                Rule {
                    path: Some(path.into()),
                    ..rule()
                },
                expected,
            );
        }
        for (text, expected) in [
            ("X-Team", true),
            ("x-team: red", true),
            ("x-team: blue", false),
            ("x-other", false),
        ] {
            check(
                Rule {
                    header: read_header(text),
                    ..rule()
                },
                expected,
            );
        }
        for (wanted, expected) in [
            ("application/json", true),
            ("text/", false),
            ("application/json; charset=utf-16", false),
        ] {
            check(
                Rule {
                    content_type: Some(wanted.into()),
                    ..rule()
                },
                expected,
            );
        }
        for (min, max, expected) in [
            (Some(100), None, true),
            (Some(101), None, false),
            (None, Some(99), false),
            (Some(1), Some(100), true),
        ] {
            check(
                Rule {
                    bytes_min: min,
                    bytes_max: max,
                    ..rule()
                },
                expected,
            );
        }
        check(
            Rule {
                path: Some("/v1/messages".into()),
                bytes_min: Some(101),
                ..rule()
            },
            false,
        );
        for text in ["", ": red", "x team", "ü"] {
            assert_eq!(read_header(text), None, "{text:?}");
        }
    }
}
