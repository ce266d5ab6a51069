//! Which addresses may be fetched from, judged by the address itself and never by its spelling.
//!
//! Pure. Refuses to know: HTTP, DNS. Invariants: an address that wraps another one (mapped, NAT64) is judged by
//! the inner one; what no list names as public is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// Private hosts that the operator opens, each with its port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    allowed: Vec<(String, u16)>,
}

/// Says why an entry of the allow list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{entry}` is not host:port")]
pub struct PolicyError {
    /// The entry.
    pub entry: String,
}

/// How a URL may be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// From public addresses only.
    Public,
    /// From whatever address the host has: the operator says so.
    Opened,
}

impl NetworkPolicy {
    /// Reads entries of the form `host:port`; IPv6 addresses in square brackets.
    pub fn parse<'entry>(entries: impl IntoIterator<Item = &'entry str>) -> Result<Self, PolicyError> {
        let allowed = entries
            .into_iter()
            .map(|entry| {
                parse_host_port(entry).ok_or_else(|| PolicyError {
                    entry: entry.to_owned(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { allowed })
    }

    /// Judges a URL before anything is sent; an address that its name stands for is judged when it is known.
    pub(super) fn judge(&self, url: &Url) -> Result<Passage, String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("only http and https are fetched, not {}", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a user name or password is not fetched".to_owned());
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err("the URL has no host".to_owned());
        };
        let passage = self.passage(host, port)?;
        if passage == Passage::Public && port < 1024 && !matches!(port, 80 | 443) {
            return Err(format!(
                "port {port} is not fetched from; the operator can allow {host}:{port}"
            ));
        }
        Ok(passage)
    }

    /// Judges a host, as the URL parser writes it, before it is resolved.
    pub(super) fn passage(&self, host: &str, port: u16) -> Result<Passage, String> {
        let is_opened = |allowed: &(String, u16)| allowed.0 == host && allowed.1 == port;
        if self.allowed.iter().any(is_opened) {
            return Ok(Passage::Opened);
        }
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal.ok().and_then(why_refused) {
            Some(what) => Err(format!("{host} is {what}; the operator can allow {host}:{port}")),
            None => Ok(Passage::Public),
        }
    }
}

/// Reads `host:port`; IPv6 addresses in square brackets. The host is given as the URL parser writes it, so that no
/// spelling of an address differs from another one.
pub(super) fn parse_host_port(entry: &str) -> Option<(String, u16)> {
    let (host, port) = entry.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let url = Url::parse(&format!("http://{host}/")).ok()?;
    let is_host = url.path() == "/" && url.username().is_empty() && url.port().is_none();
    let host = url.host_str().filter(|_| is_host && !host.is_empty())?;
    Some((host.to_owned(), port))
}

/// What an address is, if it is not public.
pub(super) fn why_refused(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => why_refused_v4(address),
        IpAddr::V6(address) => why_refused_v6(address),
    }
}

/// **Source**: IANA IPv4 Special-Purpose Address Registry (RFC 6890 and successors).
fn why_refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    let what = match address.octets() {
        [0, ..] => "an unspecified address",
        [127, ..] => "a loopback address",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "a private address",
        [100, 64..=127, ..] => "a carrier's inner address",
        [169, 254, ..] => "a link-local address",
        [198, 18 | 19, ..] => "a benchmarking address",
        [224..=239, ..] => "a multicast address",
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 51, 100, _] | [203, 0, 113, _] | [240..=255, ..] => {
            "a reserved address"
        }
        _ => return None,
    };
    Some(what)
}

/// **Source**: IANA IPv6 Special-Purpose Address Registry; RFC 4291, RFC 6052.
fn why_refused_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let inner = || {
        let [a, b, c, d] = [
            segments[6] >> 8,
            segments[6] & 0xff,
            segments[7] >> 8,
            segments[7] & 0xff,
        ];
        Ipv4Addr::new(a as u8, b as u8, c as u8, d as u8)
    };
    let what = match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => "an unspecified address",
        [0, 0, 0, 0, 0, 0, 0, 1] => "a loopback address",
        // Mapped, and NAT64 with the well-known prefix: hosts without IPv4 reach the public net by it.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => return why_refused_v4(inner()),
        [0xfe80..=0xfebf, ..] => "a link-local address",
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => "a private address",
        [0xff00..=0xffff, ..] => "a multicast address",
        // Tunnels carry another address within them that nobody sees here.
        [0x2002, ..] | [0x2001, 0, ..] => "a tunnel's address",
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "a reserved address",
        [0x2000..=0x3fff, ..] => return None,
        _ => "a reserved address",
    };
    Some(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_an_inner_address_passes() {
        let policy = NetworkPolicy::default();
        let refused = [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://0/",
            "http://0.0.0.0/",
            "http://１２７.0.0.1/",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://172.31.255.255/",
            "http://192.168.0.1/",
            "http://169.254.169.254/latest/meta-data/",
            "http://100.64.0.1/",
            "http://100.127.255.254/",
            "http://198.18.0.1/",
            "http://192.0.0.192/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://240.0.0.1/",
            "http://192.88.99.1/",
            "http://[::]/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::127.0.0.1]/",
            "http://[64:ff9b::a00:1]/",
            "http://[64:ff9b:1::1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001::1]/",
            "http://[2001:db8::1]/",
            "http://[fe80::1]/",
            "http://[fec0::1]/",
            "http://[fc00::1]/",
            "http://[fd12:3456::1]/",
            "http://[ff02::1]/",
            "http://[100::1]/",
            "http://[3fff::1]/",
            "http://[5f00::1]/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "data:text/plain,x",
            "http://user@example.com/",
            "http://u:p@example.com/",
            "http://example.com:25/",
            "https://example.com:22/",
        ];
        for text in refused {
            let url = Url::parse(text).expect(text);
            assert!(policy.judge(&url).is_err(), "{text} as {url}");
        }
        for text in [
            "http://example.com/",
            "https://example.com:8443/x",
            "http://93.184.216.34/",
            "http://172.32.0.1/",
            "http://[2606:2800:220:1::1]/",
            "http://[64:ff9b::5db8:d822]/",
            "http://100.128.0.1/",
        ] {
            let url = Url::parse(text).expect(text);
            assert_eq!(policy.judge(&url), Ok(Passage::Public), "{text}");
        }
    }

    #[test]
    fn the_operator_opens_one_port_of_one_host() {
        let policy = NetworkPolicy::parse(["127.0.0.1:8080", "Intra.Example:443", "[::1]:25"]).expect("valid");
        let check = |text: &str, passage: Option<Passage>| {
            assert_eq!(policy.judge(&Url::parse(text).expect(text)).ok(), passage, "{text}");
        };
        check("http://127.0.0.1:8080/x", Some(Passage::Opened));
        check("http://2130706433:8080/x", Some(Passage::Opened));
        check("http://127.0.0.1:8081/x", None);
        check("http://127.0.0.1/x", None);
        check("https://intra.example/", Some(Passage::Opened));
        check("http://intra.example/", Some(Passage::Public));
        check("http://[::1]:25/", Some(Passage::Opened));
        for bad in [
            "",
            "host",
            "host:",
            "host:0",
            "host:99999",
            ":80",
            "a/b:80",
            "u@h:80",
            "http://h:80",
        ] {
            assert!(NetworkPolicy::parse([bad]).is_err(), "{bad}");
        }
    }
}
