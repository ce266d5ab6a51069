//! Which hosts a pass names.
//!
//! Pure. Invariant: a host that is not named with its port is not allowed; `*.` stands for one or more whole labels.

use crate::skills::network::{PolicyError, parse_host_port};

/// A list of hosts, each with its port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Allowed(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    host: Host,
    /// None is any.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    Named(String),
    /// What is below it.
    Below(String),
}

impl Allowed {
    /// Reads `host:port` and `*.domain:port`, either part also as `*`, and `*` for every host; IPv6 addresses in
    /// square brackets.
    pub(super) fn parse(entries: &[String]) -> Result<Self, PolicyError> {
        let parse = |entry: &String| {
            let refuse = || PolicyError { entry: entry.clone() };
            if entry == "*" {
                return Ok(Entry {
                    host: Host::Any,
                    port: None,
                });
            }
            let (host, port) = entry.rsplit_once(':').ok_or_else(refuse)?;
            let is_any = port == "*";
            // A port that stands in for any, because the reader wants one.
            let port = if is_any { "1" } else { port };
            let read = |host: &str| parse_host_port(&format!("{host}:{port}")).ok_or_else(refuse);
            let (host, port) = match (host, host.strip_prefix("*.")) {
                ("*", _) => (Host::Any, read("any")?.1),
                (_, Some(domain)) => read(domain).map(|(host, port)| (Host::Below(host), port))?,
                _ => read(host).map(|(host, port)| (Host::Named(host), port))?,
            };
            Ok(Entry {
                host,
                port: (!is_any).then_some(port),
            })
        };
        Ok(Self(entries.iter().map(parse).collect::<Result<_, _>>()?))
    }

    /// Whether this host is named with this port; the host as the URL parser writes it.
    pub(super) fn has(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|entry| {
            let fits = match &entry.host {
                Host::Any => true,
                Host::Named(name) => host == name,
                Host::Below(domain) => {
                    let rest = host.strip_suffix(domain.as_str());
                    rest.is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
                }
            };
            fits && entry.port.is_none_or(|named| named == port)
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
        for (entry, host, port, has) in [
            ("*", "any.example", 81, true),
            ("*:443", "any.example", 443, true),
            ("*:443", "any.example", 80, false),
            ("one.example:*", "one.example", 81, true),
            ("one.example:*", "two.example", 81, false),
            ("*.one.example:*", "a.one.example", 1, true),
        ] {
            let allowed = Allowed::parse(&[entry.to_owned()]).expect("valid");
            assert_eq!(allowed.has(host, port), has, "{entry} {host}:{port}");
        }
        for bad in [
            "", "**", "*:", "*:0", "*:x", "*.:443", "host", "host:0", "*.a/b:1", "**.x:1:2",
        ] {
            assert!(Allowed::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
