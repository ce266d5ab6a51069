//! How many of something each has at once: connections of an address, requests of a key.
//!
//! **Invariant**: the table holds only those who are here, so it is never larger than what is bounded elsewhere.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by whose it is. Cheap to clone.
#[derive(Debug)]
pub struct Crowd<K: Hash + Eq + Clone>(Arc<Inside<K>>);

#[derive(Debug)]
struct Inside<K> {
    each_max: usize,
    open: Mutex<HashMap<K, usize>>,
}

/// One place; dropping it leaves.
#[derive(Debug)]
pub struct Place<K: Hash + Eq + Clone> {
    crowd: Crowd<K>,
    of: K,
}

impl<K: Hash + Eq + Clone> Clone for Crowd<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The address that counts: of IPv6 the network of one customer, because whoever has it has all of its addresses.
pub fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl<K: Hash + Eq + Clone> Crowd<K> {
    /// So many for each.
    pub fn new(each_max: usize) -> Self {
        Self(Arc::new(Inside {
            each_max,
            open: Mutex::default(),
        }))
    }

    /// A place for one more; none when `of` has as many as it may.
    pub fn enter(&self, of: K) -> Option<Place<K>> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(of.clone()).or_insert(0);
        if *count >= self.0.each_max {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Place {
            crowd: self.clone(),
            of,
        })
    }
}

impl<K: Hash + Eq + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut open = self.crowd.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_whoever_leaves_makes_room_and_no_trace_stays() {
        let crowd = Crowd::new(2);
        let at = |text: &str| counted(text.parse::<IpAddr>().expect("an address"));
        let first = crowd.enter(at("10.0.0.1")).expect("room");
        let _second = crowd
            .enter(at("::ffff:10.0.0.1"))
            .expect("room: the same address in other clothes");
        assert!(crowd.enter(at("10.0.0.1")).is_none());
        let _other = crowd.enter(at("10.0.0.2")).expect("room for another");
        drop(first);
        assert!(crowd.enter(at("10.0.0.1")).is_some(), "and it left again at once");
        let _one = crowd.enter(at("2001:db8::1")).expect("room");
        let _two = crowd.enter(at("2001:db8::2")).expect("room");
        assert!(crowd.enter(at("2001:db8::ffff")).is_none(), "one customer's network");
        assert!(crowd.enter(at("2001:db8:0:1::1")).is_some(), "another one's");
        let held = crowd.0.open.lock().expect("whole").len();
        assert_eq!(held, 3, "only who is here");
    }
}
