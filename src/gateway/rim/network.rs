//! Networks: which addresses may come to the operators' listener, and which are proxies.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network: an address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Says why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an address with a number of bits, such as 127.0.0.1/32 or fd00::/8")]
pub struct NetworkError;

fn leading(address: IpAddr, bits: u8) -> u128 {
    let (value, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    value.checked_shr(width - u32::from(bits)).unwrap_or(0)
}

impl Network {
    /// Whether the socket's peer is in it. An IPv4 address in IPv6 clothes is the IPv4 address.
    pub fn has(self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_ipv4() == self.address.is_ipv4() && leading(peer, self.bits) == leading(self.address, self.bits)
    }

    /// Its first and its last address.
    fn range(self) -> (u128, u128) {
        let width: u32 = if self.address.is_ipv4() { 32 } else { 128 };
        let ones = |bits: u32| u128::MAX.checked_shr(128 - bits).unwrap_or(0);
        let rest = ones(width - u32::from(self.bits));
        let first = match self.address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        } & !rest;
        (first, first | rest)
    }
}

/// Whether these together are everybody of IPv4 or of IPv6, so that they restrict nothing: two halves are the whole.
pub fn are_everybody(networks: &[Network]) -> bool {
    let whole = |is_ipv4: bool, last: u128| {
        let of = networks.iter().filter(|network| network.address.is_ipv4() == is_ipv4);
        let mut ranges: Vec<(u128, u128)> = of.map(|network| network.range()).collect();
        ranges.sort_unstable();
        // Up to where there is no gap; none before the first.
        let mut reached: Option<u128> = None;
        for (first, end) in ranges {
            let next = reached.map_or(0, |reached| reached.saturating_add(1));
            if first > next {
                return false;
            }
            reached = Some(reached.map_or(end, |reached| reached.max(end)));
        }
        reached == Some(last)
    };
    whole(true, u128::from(u32::MAX)) || whole(false, u128::MAX)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = text.split_once('/').ok_or(NetworkError)?;
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let bits: u8 = bits.parse().map_err(|_| NetworkError)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits > most {
            return Err(NetworkError);
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_are_everybody_together_are_told_from_those_that_leave_somebody_out() {
        let check = |networks: &[&str], expected: bool| {
            let read = networks.iter().map(|text| text.parse().expect("a network"));
            let read: Vec<Network> = read.collect();
            assert_eq!(are_everybody(&read), expected, "{networks:?}");
        };
        check(&[], false);
        check(&["0.0.0.0/0"], true);
        check(&["10.0.0.0/8", "::/0"], true);
        check(&["0.0.0.0/1", "128.0.0.0/1"], true);
        check(&["192.0.0.0/2", "10.0.0.0/8", "0.0.0.0/1", "128.0.0.0/2"], true);
        check(&["0.0.0.0/1", "128.0.0.0/2"], false);
        check(&["0.0.0.0/1", "192.0.0.0/2"], false);
        check(&["128.0.0.0/1"], false);
        check(&["::/1", "8000::/1"], true);
        check(&["::/1", "8000::/2"], false);
        check(&["0.0.0.0/1", "8000::/1"], false);
        check(&["10.0.0.0/8", "127.0.0.1/32", "::1/128"], false);
    }

    #[test]
    fn a_network_has_its_addresses_in_any_clothes_and_no_others() {
        let check = |network: &str, peer: &str, expected: bool| {
            let network: Network = network.parse().expect("a network");
            assert_eq!(
                network.has(peer.parse().expect("an address")),
                expected,
                "{network} {peer}"
            );
        };
        check("127.0.0.1/32", "127.0.0.1", true);
        check("127.0.0.1/32", "127.0.0.2", false);
        check("127.0.0.1/32", "::ffff:127.0.0.1", true);
        check("127.0.0.1/32", "::1", false);
        check("10.0.0.0/8", "10.200.3.4", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("::1/128", "::1", true);
        check("fd00::/8", "fd12::1", true);
        check("fd00::/8", "fe80::1", false);
        check("0.0.0.0/0", "8.8.8.8", true);
        check("::/0", "8.8.8.8", false);
        for text in ["127.0.0.1", "127.0.0.1/33", "::1/129", "host/8", "10.0.0.0/-1", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
