//! Whose request it is when a proxy brings it.
//!
//! **Invariants**: what a request says of where it comes from counts only from a proxy that the operator named
//! (`gateway.trustedProxies`) or that shows a certificate of the kind `service/`; from anybody else such headers are
//! refused rather than passed over, so that nobody believes that they count. Nobody is let in by an address.
//!
//! **Source**: RFC 7239, section 8.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, HeaderName};

use crate::domain::code;

use super::error::ApiError;
use super::parts::GatewayParts;
use super::rim::network::Network;
use super::rim::visitor::Visitor;

/// Headers that say where a request comes from.
const FORWARDED: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "true-client-ip",
    IDENTITY,
];
/// Who the proxy says the client is, by a certificate that the client showed to it.
const IDENTITY: &str = "x-client-identity";
/// Bytes of that name.
const IDENTITY_BYTES_MAX: usize = 256;

/// Where a request comes from, as far as that is known.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client's address, or its proxy's when that does not say.
    pub address: IpAddr,
    /// Who a proxy or a certificate says it is. Says nothing of what it may do: that is the key's.
    pub identity: Option<Arc<str>>,
}

/// The address that a request comes from; none only where there was no connection.
pub fn address_of(extensions: &Extensions) -> Option<IpAddr> {
    let client = extensions.get::<Client>().map(|client| client.address);
    client.or_else(|| extensions.get::<Visitor>().map(|visitor| visitor.address.ip()))
}

/// The last address in the list that is no proxy of ours: those before it are the client's own words.
fn forwarded_for(headers: &HeaderMap, proxies: &[Network]) -> Option<IpAddr> {
    let values = headers.get_all("x-forwarded-for").iter();
    let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    let mut addresses = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    let mut last = None;
    while let Some(text) = addresses.next_back() {
        let Ok(address) = text.parse::<IpAddr>() else { break };
        last = Some(address);
        if !proxies.iter().any(|network| network.has(address)) {
            break;
        }
    }
    last
}

/// The first header of a request that says where it comes from. A request has few headers, so they are looked through
/// once instead of being asked for each name.
fn first_forwarded(headers: &HeaderMap) -> Option<&'static str> {
    let names = headers.keys().map(HeaderName::as_str);
    let mut known = names.filter_map(|name| FORWARDED.iter().find(|forwarded| **forwarded == name));
    known.next().copied()
}

fn identity(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get(IDENTITY)?.to_str().ok()?.trim();
    (!text.is_empty() && text.len() <= IDENTITY_BYTES_MAX).then(|| text.into())
}

/// Who asks, or the refusal of words that do not count.
fn client(visitor: &Visitor, headers: &HeaderMap, proxies: &[Network]) -> Result<Client, ApiError> {
    let is_service = visitor
        .identity
        .as_ref()
        .is_some_and(|identity| identity.starts_with("service/"));
    let peer = visitor.address.ip();
    if is_service || proxies.iter().any(|network| network.has(peer)) {
        let brings = first_forwarded(headers).is_some();
        let own = visitor.identity.clone();
        return Ok(Client {
            address: forwarded_for(headers, proxies).unwrap_or(peer),
            // The proxy's own identity is not that of whom it brings.
            identity: identity(headers).or(own.filter(|_| !brings)),
        });
    }
    if let Some(name) = first_forwarded(headers) {
        let message = format!("the header `{name}` came from {peer}, which is no proxy of this gateway");
        return Err(ApiError::new(code::ATTRIBUTION_REFUSED, message)
            .hint("name the proxy in gateway.trustedProxies, or do not send the header"));
    }
    Ok(Client {
        address: peer,
        identity: visitor.identity.clone(),
    })
}

/// Notes where a request comes from.
///
/// **Errors**: it says something of that which does not count.
pub fn attribute(parts: &GatewayParts, request: &mut Request) -> Result<(), ApiError> {
    if let Some(visitor) = request.extensions().get::<Visitor>() {
        let client = client(visitor, request.headers(), &parts.settings.load().proxies)?;
        request.extensions_mut().insert(client);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_known_proxys_word_counts_and_only_as_far_as_it_is_the_proxys() {
        let check =
            |peer: &str, certificate: Option<&str>, sent: &[(&str, &str)], expected: Option<(&str, Option<&str>)>| {
                let visitor = Visitor {
                    address: format!("{peer}:1").parse().expect("an address"),
                    local: None,
                    identity: certificate.map(Into::into),
                };
                let mut headers = HeaderMap::new();
                for (name, value) in sent {
                    let name: HeaderName = name.parse().expect("a name");
                    headers.append(name, HeaderValue::from_str(value).expect("a value"));
                }
                let proxies: Vec<Network> = vec!["10.0.0.0/24".parse().expect("a network")];
                let found = client(&visitor, &headers, &proxies).ok();
                let found =
                    found.map(|client| (client.address.to_string(), client.identity.map(|text| text.to_string())));
                let expected = expected.map(|(address, identity)| (address.to_owned(), identity.map(str::to_owned)));
                assert_eq!(found, expected, "{peer} {certificate:?} {sent:?}");
            };
        let forged = ("x-forwarded-for", "1.1.1.1");
        check("8.8.8.8", None, &[], Some(("8.8.8.8", None)));
        for name in FORWARDED {
            check("8.8.8.8", None, &[(name, "1.1.1.1")], None);
        }
        check("8.8.8.8", Some("admin/alice"), &[forged], None);
        check(
            "8.8.8.8",
            Some("admin/alice"),
            &[],
            Some(("8.8.8.8", Some("admin/alice"))),
        );
        check("10.0.0.1", None, &[], Some(("10.0.0.1", None)));
        check(
            "10.0.0.1",
            None,
            &[("x-forwarded-for", "8.8.8.8")],
            Some(("8.8.8.8", None)),
        );
        check(
            "9.9.9.9",
            Some("service/nginx"),
            &[("x-forwarded-for", "8.8.8.8")],
            Some(("8.8.8.8", None)),
        );
        // What the client wrote in front of it does not count, and proxies of ours are passed over.
        check(
            "10.0.0.1",
            None,
            &[("x-forwarded-for", "1.1.1.1, 8.8.8.8")],
            Some(("8.8.8.8", None)),
        );
        check(
            "10.0.0.1",
            None,
            &[forged, ("x-forwarded-for", "8.8.8.8, 10.0.0.2")],
            Some(("8.8.8.8", None)),
        );
        check(
            "10.0.0.1",
            None,
            &[("x-forwarded-for", "8.8.8.8, nonsense")],
            Some(("10.0.0.1", None)),
        );
        let named = [("x-forwarded-for", "8.8.8.8"), (IDENTITY, "CN=alice")];
        check("10.0.0.1", None, &named, Some(("8.8.8.8", Some("CN=alice"))));
    }
}
