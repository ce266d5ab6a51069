//! Which hosts a pass names.
//!
//! Pure. Invariant: a host that is not named with its port is not allowed; `*.` stands for one or more whole labels.

use crate::skills::network::{PolicyError, parse_host_port};

/// A list of hosts, each with its port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Allowed(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    host: String,
    is_pattern: bool,
    port: u16,
}

impl Allowed {
    /// Reads `host:port` and `*.domain:port`; IPv6 addresses in square brackets.
    pub(super) fn parse(entries: &[String]) -> Result<Self, PolicyError> {
        let parse = |entry: &String| {
            let (text, is_pattern) = match entry.strip_prefix("*.") {
                Some(rest) => (rest, true),
                None => (entry.as_str(), false),
            };
            let (host, port) = parse_host_port(text).ok_or_else(|| PolicyError { entry: entry.clone() })?;
            Ok(Entry { host, is_pattern, port })
        };
        Ok(Self(entries.iter().map(parse).collect::<Result<_, _>>()?))
    }

    /// Whether this host is named with this port; the host as the URL parser writes it.
    pub(super) fn has(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|entry| {
            let fits = if entry.is_pattern {
                let rest = host.strip_suffix(entry.host.as_str());
                rest.is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
            } else {
                host == entry.host
            };
            fits && port == entry.port
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_allowed_with_its_port_and_under_its_own_name_alone() {
        let entries = ["api.example.com:443", "*.cdn.example:443", "[::1]:80", "127.0.0.1:8080"];
        let allowed = Allowed::parse(&entries.map(str::to_owned)).expect("valid");
        let check = |host: &str, port: u16, has: bool| assert_eq!(allowed.has(host, port), has, "{host}:{port}");
        check("api.example.com", 443, true);
        check("api.example.com", 80, false);
        check("evil-api.example.com", 443, false);
        check("api.example.com.evil", 443, false);
        check("a.cdn.example", 443, true);
        check("a.b.cdn.example", 443, true);
        check("cdn.example", 443, false);
        check(".cdn.example", 443, false);
        check("acdn.example", 443, false);
        check("[::1]", 80, true);
        check("127.0.0.1", 8080, true);
        for bad in ["", "*", "*.:443", "host", "host:0", "*.a/b:1", "**.x:1:2"] {
            assert!(Allowed::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
