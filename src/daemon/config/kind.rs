//! What values a configuration key takes, and how they are read from TOML or from one text.

use serde_json::Value;

use crate::automation::zone::is_zone;
use crate::domain::money::MicroUsd;

/// What values a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number within bounds, both included.
    Integer {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// An IP address.
    Address,
    /// A text of at most so many bytes.
    Text {
        /// The limit.
        bytes_max: usize,
    },
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Texts {
        /// The least number of items.
        items_min: usize,
        /// The greatest number of items.
        items_max: usize,
    },
    /// A list of `host:port`.
    HostPorts,
    /// An http or https address.
    Url,
    /// A zone of the IANA data base.
    Zone,
    /// A reference to a secret, never the secret.
    Secret,
    /// A JSON Schema as a TOML table.
    Schema,
    /// Yes or no.
    Flag,
    /// A number, with a point or without, as a number or as a text.
    Number,
    /// An amount of US dollars with at most six digits after the point.
    Usd,
}

impl Kind {
    /// What is allowed, for people.
    pub fn allowed(self) -> String {
        match self {
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Address => "an IP address such as 127.0.0.1 or ::1".into(),
            Self::Text { bytes_max } => format!("a text of 1 to {bytes_max} bytes"),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Texts { items_min, items_max } => format!("a list of {items_min} to {items_max} texts"),
            Self::HostPorts => "a list of \"host:port\"".into(),
            Self::Url => "an address that starts with http:// or https://".into(),
            Self::Zone => "a zone such as UTC or Europe/Berlin".into(),
            Self::Secret => "\"${NAME}\" (an environment variable), \"file:path\" or \"secret:NAME\"".into(),
            Self::Schema => "a JSON Schema as a table".into(),
            Self::Flag => "true or false".into(),
            Self::Number => "a number such as 1, 0.95 or -3".into(),
            Self::Usd => "US dollars such as 3 or 0.25, with at most six digits after the point".into(),
        }
    }

    /// Whether a value is allowed.
    pub fn allows(self, value: &Value) -> bool {
        match self {
            Self::Integer { min, max } => value.as_u64().is_some_and(|number| (min..=max).contains(&number)),
            Self::Address => value
                .as_str()
                .is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
            Self::Text { bytes_max } => value
                .as_str()
                .is_some_and(|text| !text.is_empty() && text.len() <= bytes_max),
            Self::Word(words) => value.as_str().is_some_and(|text| words.contains(&text)),
            Self::Texts { items_min, items_max } => value.as_array().is_some_and(|items| {
                (items_min..=items_max).contains(&items.len()) && items.iter().all(Value::is_string)
            }),
            Self::HostPorts => value.as_array().is_some_and(|items| {
                items.len() <= 256 && items.iter().all(|item| item.as_str().and_then(host_port).is_some())
            }),
            Self::Url => value.as_str().is_some_and(is_http_url),
            Self::Zone => value.as_str().is_some_and(is_zone),
            Self::Secret => value.as_str().is_some_and(is_secret_reference),
            Self::Schema => value.is_object(),
            Self::Flag => value.is_boolean(),
            Self::Number => number(value).is_some(),
            Self::Usd => usd(value).is_some(),
        }
    }

    /// Reads the value from one text, as it comes from an environment variable, a flag or `config set`. Lists are
    /// TOML lists or texts with commas.
    pub fn parse(self, text: &str) -> Option<Value> {
        let text = text.trim();
        let value = match self {
            Self::Integer { .. } => Value::from(text.replace('_', "").parse::<u64>().ok()?),
            Self::Texts { .. } | Self::HostPorts => match toml(text) {
                Some(list @ Value::Array(_)) => list,
                _ if text.starts_with('[') => return None,
                _ => text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect(),
            },
            Self::Schema => toml(text).or_else(|| serde_json::from_str(text).ok())?,
            Self::Flag => Value::from(text.parse::<bool>().ok()?),
            Self::Number => toml(text).filter(Value::is_number).unwrap_or_else(|| text.into()),
            // As a number, which looks natural in the file, unless that would not be what was written.
            Self::Usd => match toml(text) {
                Some(number @ Value::Number(_)) if usd(&number) == MicroUsd::from_decimal(text) => number,
                _ => Value::from(text),
            },
            _ => Value::from(text),
        };
        self.allows(&value).then_some(value)
    }
}

/// Reads one TOML value.
fn toml(text: &str) -> Option<Value> {
    text.parse::<toml_edit::Value>().ok().map(|value| to_json(&value))
}

/// The same value as JSON; dates become their text.
pub fn to_json(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => Value::from(text.value().as_str()),
        toml_edit::Value::Integer(number) => Value::from(*number.value()),
        toml_edit::Value::Float(number) => Value::from(*number.value()),
        toml_edit::Value::Boolean(flag) => Value::from(*flag.value()),
        toml_edit::Value::Datetime(date) => Value::from(date.value().to_string()),
        toml_edit::Value::Array(items) => items.iter().map(to_json).collect(),
        toml_edit::Value::InlineTable(table) => table.iter().map(|(name, value)| (name, to_json(value))).collect(),
    }
}

/// The number of a number or of a text; none that is infinite.
pub fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok()?,
        value => value.as_f64()?,
    };
    number.is_finite().then_some(number)
}

/// The amount of a number or of a decimal as text. A number with a point is taken as the shortest decimal that means
/// it, which is what a person wrote who wrote fifteen digits or fewer.
pub fn usd(value: &Value) -> Option<MicroUsd> {
    match value {
        Value::String(text) => MicroUsd::from_decimal(text),
        Value::Number(number) if number.is_f64() => MicroUsd::from_decimal(&number.as_f64()?.to_string()),
        Value::Number(number) => MicroUsd::from_decimal(&number.to_string()),
        _ => None,
    }
}

/// Splits `host:port`; an IPv6 host stands in brackets.
pub fn host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let sound = !host.is_empty()
        && !host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@' || c == '[' || c == ']')
        && (bare.is_some() || !host.contains(':'));
    sound.then_some((host, port.parse().ok().filter(|port| *port > 0)?))
}

fn is_http_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && text.len() <= 2_048)
        && !text.contains(char::is_whitespace)
}

/// Whether a text names a secret rather than being one.
pub fn is_secret_reference(text: &str) -> bool {
    if let Some(path) = text.strip_prefix("file:") {
        return !path.is_empty();
    }
    if let Some(name) = text.strip_prefix("secret:") {
        return crate::identity::secrets::is_name(name);
    }
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PORT: Kind = Kind::Integer { min: 0, max: 65_535 };

    #[test]
    fn a_kind_allows_what_it_says_and_nothing_else() {
        let check =
            |kind: Kind, text: &str, value: Option<Value>| assert_eq!(kind.parse(text), value, "{kind:?} {text}");
        check(PORT, "8_080", Some(json!(8080)));
        check(PORT, "65536", None);
        check(PORT, "-1", None);
        check(PORT, "80.5", None);
        check(Kind::Address, "::1", Some(json!("::1")));
        check(Kind::Address, "localhost", None);
        check(Kind::Word(&["a", "b"]), "b", Some(json!("b")));
        check(Kind::Word(&["a", "b"]), "c", None);
        check(
            Kind::HostPorts,
            "db:5432, [::1]:80",
            Some(json!(["db:5432", "[::1]:80"])),
        );
        check(Kind::HostPorts, "[\"a:1\"]", Some(json!(["a:1"])));
        check(Kind::HostPorts, "db", None);
        check(Kind::HostPorts, "::1:80", None);
        check(
            Kind::Url,
            "http://127.0.0.1:11434/v1",
            Some(json!("http://127.0.0.1:11434/v1")),
        );
        check(Kind::Url, "ftp://x", None);
        check(
            Kind::Secret,
            "${ANTHROPIC_API_KEY}",
            Some(json!("${ANTHROPIC_API_KEY}")),
        );
        check(Kind::Secret, "file:secret.txt", Some(json!("file:secret.txt")));
        check(Kind::Flag, "true", Some(json!(true)));
        check(Kind::Flag, "yes", None);
        check(Kind::Number, "1", Some(json!(1)));
        check(Kind::Number, "-0.5", Some(json!(-0.5)));
        check(Kind::Number, "1e3", Some(json!(1_000.0)));
        check(Kind::Number, "inf", None);
        check(Kind::Number, "many", None);
        assert!(Kind::Number.allows(&json!("1")), "as files had to say it before");
        check(Kind::Usd, "3", Some(json!(3)));
        check(Kind::Usd, "0.25", Some(json!(0.25)));
        check(Kind::Usd, "0.000001", Some(json!(0.000_001)));
        check(Kind::Usd, "12345678901.123456", Some(json!("12345678901.123456")));
        check(Kind::Usd, "-1", None);
        check(Kind::Usd, "0.0000001", None);
        check(Kind::Usd, "1e-3", None);
        check(Kind::Usd, "$3", None);
        check(Kind::Secret, "secret:anthropic", Some(json!("secret:anthropic")));
        check(Kind::Secret, "secret:", None);
        check(Kind::Secret, "secret:a b", None);
        check(Kind::Secret, "sk-ant-1234", None);
        check(Kind::Secret, "${}", None);
        check(Kind::Schema, "{ type = \"object\" }", Some(json!({"type": "object"})));
        check(Kind::Schema, "{\"type\": \"object\"}", Some(json!({"type": "object"})));
    }
}
