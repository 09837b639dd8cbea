//! May this address be dialled? A pure decision over IANA's registries of special-purpose addresses.
//!
//! Sources: <https://www.iana.org/assignments/iana-ipv4-special-registry> and
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>, plus the multicast blocks and the deprecated
//! ones. Addresses that carry an IPv4 address and really lead to it (v4-mapped, NAT64's well-known prefix) are
//! judged by what they carry; the other transition mechanisms are refused whole, nobody's mail server needs them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// A refused block of IPv4 addresses and what it is for.
pub const REFUSED_V4: &[(Ipv4Net, &str)] = &[
    (v4([0, 0, 0, 0], 8), "this network (RFC 791)"),
    (v4([10, 0, 0, 0], 8), "private use (RFC 1918)"),
    (v4([100, 64, 0, 0], 10), "carrier-grade NAT (RFC 6598)"),
    (v4([127, 0, 0, 0], 8), "loopback (RFC 1122)"),
    (v4([169, 254, 0, 0], 16), "link-local, cloud metadata (RFC 3927)"),
    (v4([172, 16, 0, 0], 12), "private use (RFC 1918)"),
    (v4([192, 0, 0, 0], 24), "IETF protocol assignments (RFC 6890)"),
    (v4([192, 0, 2, 0], 24), "documentation (RFC 5737)"),
    (v4([192, 31, 196, 0], 24), "AS112 (RFC 7535)"),
    (v4([192, 52, 193, 0], 24), "AMT (RFC 7450)"),
    (v4([192, 88, 99, 0], 24), "6to4 relay, deprecated (RFC 7526)"),
    (v4([192, 168, 0, 0], 16), "private use (RFC 1918)"),
    (v4([192, 175, 48, 0], 24), "AS112 direct delegation (RFC 7534)"),
    (v4([198, 18, 0, 0], 15), "benchmarking (RFC 2544)"),
    (v4([198, 51, 100, 0], 24), "documentation (RFC 5737)"),
    (v4([203, 0, 113, 0], 24), "documentation (RFC 5737)"),
    (v4([224, 0, 0, 0], 4), "multicast (RFC 5771)"),
    (v4([240, 0, 0, 0], 4), "reserved, limited broadcast (RFC 1112, RFC 919)"),
];

/// A refused block of IPv6 addresses and what it is for.
pub const REFUSED_V6: &[(Ipv6Net, &str)] = &[
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "unspecified, loopback, v4-compatible (RFC 4291)"),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), "v4-translated (RFC 2765)"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "local-use NAT64 (RFC 8215)"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discard only (RFC 6666)"),
    (v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64), "dummy prefix (RFC 9780)"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "IETF protocol assignments, Teredo, ORCHID (RFC 2928)"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation (RFC 3849)"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4 (RFC 3056)"),
    (v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), "AS112 direct delegation (RFC 7534)"),
    (v6([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16), "6bone, returned (RFC 3701)"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation (RFC 9637)"),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "SRv6 segment identifiers (RFC 9602)"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "unique local (RFC 4193)"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local (RFC 4291)"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local, deprecated (RFC 3879)"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast (RFC 4291)"),
];

/// The one block that IANA hands out as global unicast (RFC 4291, section 2.4). Whatever is neither in it nor
/// carries an IPv4 address is reserved, and so is refused before anybody gives it a meaning.
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// NAT64's well-known prefix (RFC 6052): on an IPv6-only network with DNS64 every IPv4-only server looks so.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(groups: [u16; 8], prefix: u8) -> Ipv6Net {
    let [g1, g2, g3, g4, g5, g6, g7, g8] = groups;
    Ipv6Net::new_assert(Ipv6Addr::new(g1, g2, g3, g4, g5, g6, g7, g8), prefix)
}

/// Why this address is not dialled for a tenant; `None` for a public one.
pub fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => carried_v4(address).map_or_else(|| refusal_v6(address), refusal_v4),
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    REFUSED_V4.iter().find(|(block, _)| block.contains(&address)).map(|(_, purpose)| *purpose)
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    let named = REFUSED_V6.iter().find(|(block, _)| block.contains(&address)).map(|(_, purpose)| *purpose);
    named.or_else(|| (!GLOBAL_UNICAST.contains(&address)).then_some("not global unicast (RFC 4291)"))
}

/// The IPv4 address that a packet to this address ends up at.
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if NAT64.contains(&address) {
        let [.., a, b, c, d] = address.octets();
        return Some(Ipv4Addr::new(a, b, c, d));
    }
    address.to_ipv4_mapped()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> bool {
        refusal(text.parse().unwrap()).is_some()
    }

    #[test]
    fn well_known_internal_addresses_are_refused() {
        for text in [
            "0.0.0.0",
            "127.0.0.1",
            "127.255.255.254",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::808:808",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "8000::1",
        ] {
            assert!(refused(text), "{text} must be refused");
        }
    }

    #[test]
    fn public_addresses_pass() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
        ] {
            assert!(!refused(text), "{text} is public");
        }
    }

    fn in_v4_block() -> impl Strategy<Value = Ipv4Addr> {
        (prop::sample::select(REFUSED_V4), any::<u32>()).prop_map(|((block, _), bits)| {
            Ipv4Addr::from(u32::from(block.network()) | (bits & u32::from(block.hostmask())))
        })
    }

    proptest! {
        #[test]
        fn every_address_of_every_refused_v4_block_is_refused(address in in_v4_block()) {
            prop_assert!(refusal(IpAddr::V4(address)).is_some());
        }

        #[test]
        fn no_wrapping_opens_a_refused_v4_address(address in in_v4_block()) {
            let [a, b, c, d] = address.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for wrapped in [
                address.to_ipv6_mapped(),
                address.to_ipv6_compatible(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, high, low, 0, 0, !high, !low),
            ] {
                prop_assert!(refusal(IpAddr::V6(wrapped)).is_some(), "{wrapped}");
            }
        }

        #[test]
        fn every_address_of_every_refused_v6_block_is_refused(
            (block, _) in prop::sample::select(REFUSED_V6),
            bits in any::<u128>(),
        ) {
            let address = Ipv6Addr::from(u128::from(block.network()) | (bits & u128::from(block.hostmask())));
            prop_assert!(refusal(IpAddr::V6(address)).is_some(), "{address}");
        }

        #[test]
        fn a_mapped_address_is_judged_as_the_address_it_carries(bits in any::<u32>()) {
            let address = Ipv4Addr::from(bits);
            let mapped = IpAddr::V6(address.to_ipv6_mapped());
            prop_assert_eq!(refusal(IpAddr::V4(address)), refusal(mapped));
        }
    }
}
