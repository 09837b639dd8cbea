//! Where a request comes from: the peer's address, or what the proxies that the operator trusts say in
//! `X-Forwarded-For`. Anybody can send that header, so only the part that trusted proxies wrote counts.
//!
//! What is limited by address is limited by network: one IPv6 subscriber has a whole /64 (RFC 6177).

use std::{fmt, net::IpAddr, net::SocketAddr};

use axum::{
    extract::ConnectInfo,
    http::{HeaderMap, HeaderName, request::Parts},
};
use ipnet::{IpNet, Ipv6Net};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What one IPv6 subscriber has.
const IPV6_SUBSCRIBER: u8 = 64;

/// More hops than any chain of proxies has; what stands further left is not looked at.
const MOST_HOPS: usize = 32;

/// The proxies whose `X-Forwarded-For` counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Addresses and CIDR blocks, separated by commas; empty text trusts nobody.
    ///
    /// # Errors
    /// The first part that is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let blocks = parts.map(|part| {
            let single = part.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
            single.or_else(|_| part.parse::<IpNet>()).map_err(|_| part.to_owned())
        });
        blocks.collect::<Result<_, _>>().map(Self)
    }

    fn trust(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(&ip))
    }

    /// The nearest hop that is no trusted proxy. Each proxy appends the address that it was called from, so the header
    /// is read from the right. Where it ends or cannot be read, the last hop that was vouched for is the answer.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut nearest = peer.to_canonical();
        let lines = headers.get_all(X_FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or_default());
        let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
        for hop in hops.into_iter().rev().take(MOST_HOPS) {
            if !self.trust(nearest) {
                break;
            }
            let Some(ip) = parse_hop(hop) else { break };
            nearest = ip;
        }
        nearest
    }
}

/// An address as proxies write it: alone, in brackets, with a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip()));
    ip.map(|ip| ip.to_canonical())
}

/// The address of whoever sent a request; an IPv4 address that came mapped into IPv6 is IPv4 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    /// What shares one limit: an IPv4 address, or the /64 around an IPv6 address.
    pub fn network(self) -> IpNet {
        match self.0 {
            IpAddr::V4(ip) => IpNet::from(IpAddr::V4(ip)),
            IpAddr::V6(ip) => IpNet::V6(Ipv6Net::new_assert(ip, IPV6_SUBSCRIBER).trunc()),
        }
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a request comes from. One without a peer (nothing but a test has none) is from the unspecified address.
pub fn client_ip(parts: &Parts, trusted: &TrustedProxies) -> ClientIp {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    ClientIp(trusted.client(peer.unwrap_or_else(|| IpAddr::from([0, 0, 0, 0])), &parts.headers))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use axum::http::{HeaderValue, Request};

    use super::*;

    fn seen(trusted: &str, peer: &str, forwarded: &[&str]) -> String {
        let mut request = Request::new(());
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 4711)));
        for line in forwarded {
            let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            request.headers_mut().append(X_FORWARDED_FOR, line);
        }
        client_ip(&request.into_parts().0, &TrustedProxies::parse(trusted).unwrap()).to_string()
    }

    #[test]
    fn the_header_of_a_stranger_counts_nothing() {
        assert_eq!(seen("", "203.0.113.7", &["198.51.100.1"]), "203.0.113.7");
        assert_eq!(seen("10.0.0.0/8", "203.0.113.7", &["198.51.100.1"]), "203.0.113.7");
    }

    #[test]
    fn the_client_is_the_rightmost_hop_that_is_not_trusted() {
        let trusted = "10.0.0.0/8, 192.0.2.1,2001:db8:1::/48";
        for (peer, forwarded, expected) in [
            ("10.0.0.1", vec!["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", vec!["1.1.1.1, 198.51.100.1, 192.0.2.1"], "198.51.100.1"),
            ("10.0.0.1", vec!["1.1.1.1", "198.51.100.1,10.9.9.9"], "198.51.100.1"),
            ("2001:db8:1::5", vec!["2001:db8:2::1"], "2001:db8:2::1"),
            ("10.0.0.1", vec!["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", vec!["[2001:db8:2::1]:443"], "2001:db8:2::1"),
            ("10.0.0.1", vec!["[2001:db8:2::1]"], "2001:db8:2::1"),
            ("::ffff:10.0.0.1", vec!["::ffff:198.51.100.1"], "198.51.100.1"),
        ] {
            assert_eq!(seen(trusted, peer, &forwarded), expected, "{forwarded:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_leaves_the_last_hop_that_was_vouched_for() {
        for (forwarded, expected) in [
            (vec![], "10.0.0.1"),
            (vec![""], "10.0.0.1"),
            (vec!["unknown"], "10.0.0.1"),
            (vec!["198.51.100.1, unknown"], "10.0.0.1"),
            (vec!["198.51.100.1, nonsense, 10.0.0.2"], "10.0.0.2"),
            (vec!["198.51.100.1", "\u{fc}"], "10.0.0.1"),
            (vec!["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            assert_eq!(seen("10.0.0.0/8", "10.0.0.1", &forwarded), expected, "{forwarded:?}");
        }
    }

    #[test]
    fn an_ipv6_subscriber_is_one_network_and_an_ipv4_address_another() {
        let network = |text: &str| ClientIp(text.parse().unwrap()).network().to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("198.51.100.1"), "198.51.100.1/32");
    }

    #[test]
    fn only_addresses_and_blocks_can_be_trusted() {
        for wrong in ["localhost", "10.0.0.0/33", "10.0.0.1;10.0.0.2", "*", "10.0.0.0/8,proxy"] {
            assert!(TrustedProxies::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(TrustedProxies::parse(" , ").unwrap(), TrustedProxies::default());
    }
}
