//! Which addresses the bridge takes.
//!
//! Pure: the choice is made from the prefixes that the host uses already. The candidates lie away
//! from the ranges where docker (172.17 to 172.31, 192.168 in twenties), podman (10.88, 10.89) and
//! home routers begin.

use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 network: its first address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet {
    base: u32,
    length: u8,
}

/// The host numbers that steps may have in a /24; 1 is the bridge, 255 the broadcast.
pub(crate) const HOST_NUMBERS: std::ops::RangeInclusive<u8> = 2..=254;

/// The prefix length of the bridge's subnet.
pub(crate) const LENGTH: u8 = 24;

impl Subnet {
    /// Returns the network of `length` bits around `address`; a length above 32 is 32.
    pub fn around(address: Ipv4Addr, length: u8) -> Subnet {
        let length = length.min(32);
        Subnet { base: address.to_bits() & mask(length), length }
    }

    /// Returns the address numbered `host` in it.
    pub fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base | (u32::from(host) & !mask(self.length)))
    }

    /// Returns the address of the bridge, which is the gateway of the steps.
    pub fn gateway(self) -> Ipv4Addr {
        self.address(1)
    }

    /// Returns the first address.
    pub fn base(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base)
    }

    /// Returns the length of the prefix.
    pub fn length(self) -> u8 {
        self.length
    }

    /// Tells whether some address is in both.
    pub fn overlaps(self, other: Subnet) -> bool {
        let mask = mask(self.length.min(other.length));
        self.base & mask == other.base & mask
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.length)
    }
}

/// Returns the first candidate that touches none of `used`.
///
/// The default route touches everything and says nothing, so prefixes of length 0 do not count.
pub(crate) fn choose(used: &[Subnet]) -> Option<Subnet> {
    candidates().find(|candidate| is_free(*candidate, used))
}

/// Tells whether `subnet` touches none of `used`, the default route aside.
pub(crate) fn is_free(subnet: Subnet, used: &[Subnet]) -> bool {
    !used.iter().any(|used| used.length > 0 && used.overlaps(subnet))
}

fn candidates() -> impl Iterator<Item = Subnet> {
    let third = |first: u8, second: u8, thirds: std::ops::RangeInclusive<u8>| {
        thirds.map(move |third| Subnet::around(Ipv4Addr::new(first, second, third, 0), LENGTH))
    };
    third(10, 211, 0..=63).chain(third(172, 29, 64..=127)).chain(third(192, 168, 208..=247))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        let (address, length) = text.split_once('/').unwrap();
        Subnet::around(address.parse().unwrap(), length.parse().unwrap())
    }

    fn check(used: &[&str], expect: Option<&str>) {
        let used: Vec<_> = used.iter().map(|text| subnet(text)).collect();
        assert_eq!(choose(&used).map(|chosen| chosen.to_string()).as_deref(), expect, "{used:?}");
    }

    #[test]
    fn choices() {
        check(&[], Some("10.211.0.0/24"));
        check(&["0.0.0.0/0"], Some("10.211.0.0/24"));
        check(&["10.211.0.77/32"], Some("10.211.1.0/24"));
        check(&["10.211.0.0/24", "10.211.1.0/25", "10.211.2.128/25"], Some("10.211.3.0/24"));
        check(&["10.0.0.0/8"], Some("172.29.64.0/24"));
        check(&["0.0.0.0/1"], Some("172.29.64.0/24"));
        check(&["0.0.0.0/1", "128.0.0.0/1"], None);
        check(&["10.0.0.0/8", "172.16.0.0/12"], Some("192.168.208.0/24"));
        check(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], None);
        check(&["10.210.0.0/15"], Some("172.29.64.0/24"));
    }

    #[test]
    fn addresses() {
        let subnet = subnet("10.211.7.99/24");
        assert_eq!(subnet.to_string(), "10.211.7.0/24");
        assert_eq!(subnet.gateway().to_string(), "10.211.7.1");
        assert_eq!(subnet.address(254).to_string(), "10.211.7.254");
        assert!(candidates().all(|candidate| candidate.length == LENGTH && candidate.base().is_private()));
    }
}
