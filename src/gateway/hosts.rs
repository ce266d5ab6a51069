//! Which names a listener answers to, so that no web page makes a browser ask it: under a name of the page's own (DNS
//! rebinding), or from another origin.
//!
//! It answers to this machine's own names, to the address that the connection came to, to the names of the
//! configuration, and to those of the operator's own certificate. Names are compared as DNS does, without case.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header;

use crate::domain::code;
use crate::domain::text;
use crate::identity::authority::listener::Tls;

use super::error::ApiError;
use super::rim::visitor::Visitor;

/// The names of one listener. Cheap to clone.
#[derive(Clone)]
pub struct Hosts(Arc<Inside>);

struct Inside {
    /// In lower case.
    names: Box<[Box<str>]>,
    tls: Option<Tls>,
}

/// What a request says whom it asks.
struct Asked<'a> {
    /// With the port, when it was named.
    authority: &'a str,
    name: &'a str,
}

impl Hosts {
    /// Of a listener with these further names and addresses, and those that its own certificate has at the time.
    pub fn new(further: impl IntoIterator<Item = String>, tls: Option<Tls>) -> Self {
        let names = further.into_iter().map(|name| bare(&name).to_ascii_lowercase().into());
        Self(Arc::new(Inside {
            names: names.collect(),
            tls,
        }))
    }

    /// Whether the operator gave it this name.
    fn is_given(&self, name: &str) -> bool {
        let Inside { names, tls } = &*self.0;
        names.iter().any(|own| own.eq_ignore_ascii_case(name))
            || tls
                .as_ref()
                .is_some_and(|tls| tls.names().iter().any(|own| covers(own, name)))
    }

    fn answers_to(&self, name: &str, local: Option<IpAddr>) -> bool {
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let is_here = |address: IpAddr| {
            let here = [IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()];
            here.contains(&address) || local.is_some_and(|local| local.to_canonical() == address.to_canonical())
        };
        name.parse().is_ok_and(is_here) || self.is_given(name)
    }

    /// The refusal of a request whose host is none of this listener's.
    pub fn refuse_others(&self, request: &Request) -> Option<ApiError> {
        let asked = match asked(request) {
            Ok(asked) => asked,
            Err(refused) => return Some(refused),
        };
        let local = request.extensions().get::<Visitor>().and_then(|visitor| visitor.local);
        if self.answers_to(asked.name, local) {
            return None;
        }
        let name = text::preview(asked.name, 80);
        let message = format!("this daemon does not answer to the host `{name}`");
        Some(
            ApiError::new(code::HOST_REFUSED, message)
                .hint("use localhost or the address that is listened on; gateway.tls.names gives it further names"),
        )
    }

    /// The refusal of a request that a web page made a browser send: under a name that is none of this listener's, or
    /// from another origin. Only browsers say whose page it was, and they say it always; a page of this daemon's own
    /// has the address that is asked as its origin, and behind a proxy a name that the operator gave.
    pub fn refuse_pages(&self, request: &Request) -> Option<ApiError> {
        self.refuse_others(request)
            .or_else(|| self.refuse_other_origins(request))
    }

    fn refuse_other_origins(&self, request: &Request) -> Option<ApiError> {
        let site = request.headers().get("sec-fetch-site");
        let is_foreign_site = site.is_some_and(|site| site != "same-origin" && site != "none");
        let is_foreign = request.headers().get(header::ORIGIN).is_some_and(|origin| {
            let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            authority.is_none_or(|(_, authority)| {
                let is_asked = asked(request).is_ok_and(|asked| asked.authority.eq_ignore_ascii_case(authority));
                // With a port it may be another service of the same machine.
                !(is_asked || has_no_port(authority) && self.is_given(bare(authority)))
            })
        });
        (is_foreign || is_foreign_site).then(|| {
            ApiError::new(
                code::ORIGIN_REFUSED,
                "the request was made by a web page of another origin",
            )
            .hint("ask from a program, or from a page of this address")
        })
    }
}

/// **Errors**: it names none, or more than one: who reads the other one would take it for another request.
///
/// **Source**: RFC 9112, section 3.2.
fn asked(request: &Request) -> Result<Asked<'_>, ApiError> {
    let mut headers = request.headers().get_all(header::HOST).iter();
    let (host, more) = (headers.next(), headers.next());
    let host = host.map(|host| host.to_str().unwrap_or(""));
    let target = request.uri().authority().map(axum::http::uri::Authority::as_str);
    let differs = host
        .zip(target)
        .is_some_and(|(host, target)| !host.eq_ignore_ascii_case(target));
    if more.is_some() || differs {
        return Err(ApiError::invalid("the request names more than one host").hint("send one Host header"));
    }
    let authority = target.or(host).unwrap_or("");
    Ok(Asked {
        authority,
        name: bare(authority),
    })
}

fn has_no_port(authority: &str) -> bool {
    let name = bare(authority);
    authority.len() == name.len() || authority.len() == name.len() + 2 && authority.starts_with('[')
}

/// Without port, brackets and the last dot.
fn bare(authority: &str) -> &str {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    let name = match authority.split_once(':') {
        // More than one colon is an address of IPv6.
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => authority,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a name of a certificate is this one; a star is one part of a name.
fn covers(own: &str, name: &str) -> bool {
    match own.strip_prefix("*.") {
        Some(parent) => name
            .split_once('.')
            .is_some_and(|(first, rest)| !first.is_empty() && rest.eq_ignore_ascii_case(parent)),
        None => own.eq_ignore_ascii_case(name),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(target: &str, sent: &[(&str, &str)], local: &str) -> Request {
        let mut request = axum::http::Request::builder().uri(target);
        for (name, value) in sent {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).expect("a request");
        request.extensions_mut().insert(Visitor {
            address: "192.0.2.9:1".parse().expect("an address"),
            local: Some(local.parse().expect("an address")),
            identity: None,
        });
        request
    }

    fn hosts() -> Hosts {
        Hosts::new(["gw.example", "192.0.2.7", "[2001:db8::1]"].map(str::to_owned), None)
    }

    #[test]
    fn it_answers_to_its_own_names_and_addresses_and_to_no_other() {
        let check = |target: &str, sent: &[&str], local: &str, expected: Option<&str>| {
            let sent: Vec<(&str, &str)> = sent.iter().map(|host| ("host", *host)).collect();
            let refused = hosts().refuse_others(&request(target, &sent, local));
            let code = refused.map(|refused| refused.code().id);
            assert_eq!(code, expected, "{target} {sent:?} {local}");
        };
        for good in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1",
            "[::1]:8080",
            "gw.example",
            "GW.Example.:443",
            "192.0.2.7:1",
            "[2001:DB8::1]",
        ] {
            check("/", &[good], "127.0.0.1", None);
        }
        check("/", &["198.51.100.1"], "198.51.100.1", None);
        check("/", &["198.51.100.1"], "::ffff:198.51.100.1", None);
        for bad in [
            "198.51.100.1",
            "evil.example",
            "gw.example.evil.example",
            "a.gw.example",
            "user@localhost",
            "localhost:x",
            "0.0.0.0",
            "",
        ] {
            check("/", &[bad], "127.0.0.1", Some("OC-2004"));
        }
        check("/", &[], "127.0.0.1", Some("OC-2004"));
        check("/", &["localhost", "evil.example"], "127.0.0.1", Some("OC-1001"));
        check("/", &["localhost", "localhost"], "127.0.0.1", Some("OC-1001"));
        check("http://evil.example/", &["localhost"], "127.0.0.1", Some("OC-1001"));
        check("http://evil.example/", &[], "127.0.0.1", Some("OC-2004"));
        check("http://localhost/", &["localhost"], "127.0.0.1", None);
    }

    #[test]
    fn a_page_counts_when_its_origin_is_what_is_asked_or_a_name_that_the_operator_gave() {
        let check = |host: &str, sent: &[(&str, &str)], good: bool| {
            let mut all = vec![("host", host)];
            all.extend(sent);
            let refused = hosts().refuse_pages(&request("/", &all, "127.0.0.1"));
            let code = refused.map(|refused| refused.code().id);
            assert_eq!(code, (!good).then_some("OC-2009"), "{host} {sent:?}");
        };
        check("localhost:80", &[("origin", "http://localhost:80")], true);
        check("localhost", &[("origin", "https://gw.example")], true);
        check("localhost", &[("origin", "https://[2001:db8::1]")], true);
        check("localhost", &[("origin", "https://gw.example:8443")], false);
        check("localhost:80", &[("origin", "http://localhost:3000")], false);
        check("localhost:80", &[("origin", "http://localhost")], false);
        check("localhost", &[("origin", "null")], false);
        check("localhost", &[("origin", "https://evil.example")], false);
        check("localhost", &[("sec-fetch-site", "cross-site")], false);
        check("localhost", &[("sec-fetch-site", "same-origin")], true);
    }

    #[test]
    fn a_star_of_a_certificate_is_one_part_of_a_name() {
        for (own, name, expected) in [
            ("*.example", "a.example", true),
            ("*.example", "A.EXAMPLE", true),
            ("*.example", "example", false),
            ("*.example", "a.b.example", false),
            ("a.example", "A.example", true),
        ] {
            assert_eq!(covers(own, name), expected, "{own} {name}");
        }
    }
}
