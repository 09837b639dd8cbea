//! A host as a tenant wrote it: an address in any spelling, or a name. Pure.
//!
//! `inet_aton` reads `0x7f.1`, `2130706433` and `017700000001` as 127.0.0.1. Whatever could be read so by
//! anybody down the line is read here, by the same rules, or refused; it never travels on as a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name of the DNS in its text form (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;

/// What a host turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// An address, whichever way it was written.
    Address(IpAddr),
    /// A name in lower case, without the root's dot.
    Name(String),
}

/// The text is neither an address nor a name of the DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadHost;

impl Host {
    /// Reads a host. Internationalised names are expected in their ASCII form.
    pub(super) fn parse(text: &str) -> Result<Self, BadHost> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(BadHost)?;
            return parse_v6(inner);
        }
        if text.contains(':') {
            return parse_v6(text);
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if looks_numeric(text) {
            return parse_v4(text).map(|address| Self::Address(IpAddr::V4(address))).ok_or(BadHost);
        }
        if is_name(text) { Ok(Self::Name(text.to_ascii_lowercase())) } else { Err(BadHost) }
    }
}

/// A zone (`fe80::1%eth0`) names an interface of ours, and is refused with the rest that does not parse.
fn parse_v6(text: &str) -> Result<Host, BadHost> {
    let address: Ipv6Addr = text.parse().map_err(|_| BadHost)?;
    let canonical = address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4);
    Ok(Host::Address(canonical))
}

/// WHATWG URL, "ends in a number": the last label decides, since a name's last label is never a number.
fn looks_numeric(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or(text);
    let digits = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    digits || number(last).is_some()
}

/// `inet_aton`: one to four numbers, the last one filling all the bytes that are left.
fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u64> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) {
        return None;
    }
    let free_bits = 32 - 8 * u32::try_from(leading.len()).ok()?;
    if *last >= 1u64 << free_bits {
        return None;
    }
    let high = leading.iter().zip([24, 16, 8]).fold(0u64, |sum, (part, shift)| sum | part << shift);
    u32::try_from(high | last).ok().map(Ipv4Addr::from)
}

/// A number as C writes it: `0x` hexadecimal, a leading zero octal, else decimal.
fn number(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.strip_prefix("0x") {
        Some("") => ("0", 16),
        Some(hex) => (hex, 16),
        None if lower.len() > 1 && lower.starts_with('0') => (lower.as_str(), 8),
        None => (lower.as_str(), 10),
    };
    let all_digits = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    if all_digits { u64::from_str_radix(digits, radix).ok() } else { None }
}

fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= MAX_NAME && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_loopback_is_read_as_loopback() {
        for text in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "127.0.1",
            "0x7f.1",
            "0x7f.0x0.0x0.0x1",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "0177.0.0.1",
            "0177.0.0.01",
            "[::ffff:127.0.0.1]",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "0X7F.1",
            "[::FFFF:7F00:0001]",
        ] {
            assert_eq!(Host::parse(text), Ok(Host::Address(Ipv4Addr::LOCALHOST.into())), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_an_address_is_refused() {
        for text in [
            "",
            ".",
            "1.2.3.4.5",
            "1.2.3.4.0",
            "1.2.3.4.5.6",
            "256.1.1.1",
            "1.256.1.1",
            "1.2.3.256",
            "4294967296",
            "0x100000000",
            "08.1",
            "127.0.0.09",
            "127.0.0.+1",
            "+2130706433",
            "1..2",
            "127.0.0.1..",
            "[127.0.0.1]",
            "[::1",
            "::1]",
            "fe80::1%eth0",
            "[fe80::1%25eth0]",
            "a..b",
            "-a.example",
            "exa mple.com",
            "example.com\r\n",
            "ex\u{e4}mple.com",
            "\u{ff11}27.0.0.1",
            "127\u{3002}0.0.1",
            "user@host",
            "host/path",
            "host:25",
            "a.0x",
            "%31.1.1.1",
        ] {
            let parsed = Host::parse(text);
            assert!(
                parsed == Err(BadHost) || text == "a.0x" && !matches!(parsed, Ok(Host::Name(_))),
                "{text:?} gave {parsed:?}"
            );
        }
    }

    #[test]
    fn names_are_lower_cased_and_lose_the_dot_of_the_root() {
        assert_eq!(Host::parse("SMTP.Example.COM."), Ok(Host::Name("smtp.example.com".to_owned())));
        assert_eq!(Host::parse("localhost"), Ok(Host::Name("localhost".to_owned())));
        assert_eq!(Host::parse("3com.example"), Ok(Host::Name("3com.example".to_owned())));
        assert_eq!(
            Host::parse("smtp-1.my_host.example"),
            Ok(Host::Name("smtp-1.my_host.example".to_owned()))
        );
        assert_eq!(Host::parse("1.2.3.4.example"), Ok(Host::Name("1.2.3.4.example".to_owned())));
    }

    proptest! {
        #[test]
        fn an_address_reads_the_same_in_every_spelling(bits in any::<u32>()) {
            let expected = Ok(Host::Address(IpAddr::V4(Ipv4Addr::from(bits))));
            let [a, b, c, d] = bits.to_be_bytes();
            for text in [
                format!("{a}.{b}.{c}.{d}"),
                format!("{bits}"),
                format!("0x{bits:x}"),
                format!("0{bits:o}"),
                format!("{a}.{}", bits & 0x00ff_ffff),
                format!("0x{a:x}.0{b:o}.{}", bits & 0xffff),
                format!("::ffff:{a}.{b}.{c}.{d}"),
            ] {
                prop_assert_eq!(Host::parse(&text), expected.clone(), "{}", text);
            }
        }

        #[test]
        fn whatever_is_taken_for_a_name_is_no_number(text in "[0-9a-fxX.]{1,12}") {
            if let Ok(Host::Name(name)) = Host::parse(&text) {
                prop_assert!(number(name.rsplit('.').next().unwrap_or_default()).is_none());
            }
        }
    }
}
