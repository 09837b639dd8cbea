//! From a name to addresses and mail exchangers, with what the DNS proved when there are none.
//!
//! [`Dns`] is a trait because tests script the answers. The addresses are not judged here; see `deny`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as HickoryError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};

/// One question to one name server, and how often it is asked. The caller's deadline bounds the whole.
const QUESTION: Duration = Duration::from_secs(3);
const TRIES: usize = 2;
/// No answer is believed longer than this, whatever its time to live says.
const LONGEST_TTL: Duration = Duration::from_mins(5);

/// Why the DNS named nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name does not exist (NXDOMAIN).
    #[error("no such name")]
    NoSuchName,
    /// The name exists and has no record of this kind (RFC 2308, NODATA).
    #[error("no such record")]
    NoRecords,
    /// No answer, or one that proves nothing.
    #[error("no answer")]
    Failed,
}

/// The questions that are asked of the DNS.
#[async_trait]
pub trait Dns: Send + Sync {
    /// Every IPv4 and IPv6 address of a name, IPv4 first.
    ///
    /// # Errors
    /// `NoSuchName` and `NoRecords` only when the DNS said so for both kinds of address.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError>;

    /// The exchanges of a domain's MX records; the root (RFC 7505, "null MX") as an empty text.
    ///
    /// # Errors
    /// As the DNS answered.
    async fn mail_exchangers(&self, domain: &str) -> Result<Vec<String>, DnsError>;
}

/// The resolver of the machine: `/etc/hosts`, then the name servers of `/etc/resolv.conf`.
#[derive(Clone)]
pub struct SystemDns {
    resolver: TokioResolver,
}

impl SystemDns {
    /// Reads the machine's configuration. Without a readable one, `/etc/hosts` alone answers.
    ///
    /// # Errors
    /// When the resolver cannot be built, with the library's reason.
    pub fn new() -> Result<Self, NetError> {
        let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "the machine's DNS configuration cannot be read; only /etc/hosts answers");
            no_name_servers()
        });
        let options = builder.options_mut();
        options.timeout = QUESTION;
        options.attempts = TRIES;
        options.positive_max_ttl = Some(LONGEST_TTL);
        options.negative_max_ttl = Some(LONGEST_TTL);
        Ok(Self { resolver: builder.build()? })
    }

    async fn records(&self, name: Name, kind: RecordType) -> Result<Vec<RData>, DnsError> {
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => Ok(lookup.answers().iter().map(|record| record.data.clone()).collect()),
            Err(error) => Err(proven(&error)),
        }
    }

    async fn addresses_of(&self, name: Name, kind: RecordType) -> Result<Vec<IpAddr>, DnsError> {
        let records = self.records(name, kind).await?;
        let found: Vec<IpAddr> = records.iter().filter_map(RData::ip_addr).collect();
        if found.is_empty() { Err(DnsError::NoRecords) } else { Ok(found) }
    }
}

fn no_name_servers() -> ResolverBuilder<TokioRuntimeProvider> {
    let config = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
}

#[async_trait]
impl Dns for SystemDns {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        if is_localhost(name) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let name = dns_name(name)?;
        let second = self.addresses_of(name.clone(), RecordType::AAAA);
        let (v4, v6) = tokio::join!(self.addresses_of(name, RecordType::A), second);
        merge(v4, v6)
    }

    async fn mail_exchangers(&self, domain: &str) -> Result<Vec<String>, DnsError> {
        let mut name = dns_name(domain)?;
        name.set_fqdn(true);
        let records = self.records(name, RecordType::MX).await?;
        let found: Vec<String> = records.iter().filter_map(exchange).collect();
        if found.is_empty() { Err(DnsError::NoRecords) } else { Ok(found) }
    }
}

/// RFC 6761, section 6.3: these names are loopback, and no name server is asked.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// A name with a dot is absolute: the machine's search list is for single labels only.
fn dns_name(text: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_utf8(text).map_err(|_| DnsError::Failed)?;
    if name.num_labels() > 1 {
        name.set_fqdn(true);
    }
    Ok(name)
}

fn exchange(record: &RData) -> Option<String> {
    let RData::MX(mx) = record else { return None };
    let name = mx.exchange.to_ascii();
    Some(name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase())
}

/// What an error proves. A referral (name servers, no SOA) is how a lame server answers, and proves nothing.
fn proven(error: &NetError) -> DnsError {
    let NetError::Dns(HickoryError::NoRecordsFound(nothing)) = error else { return DnsError::Failed };
    if nothing.response_code == ResponseCode::NXDomain {
        DnsError::NoSuchName
    } else if nothing.response_code == ResponseCode::NoError
        && (nothing.soa.is_some() || nothing.ns.is_none())
    {
        DnsError::NoRecords
    } else {
        DnsError::Failed
    }
}

/// Any address is an answer; without one, one failed question spoils the proof of the other.
fn merge(
    v4: Result<Vec<IpAddr>, DnsError>,
    v6: Result<Vec<IpAddr>, DnsError>,
) -> Result<Vec<IpAddr>, DnsError> {
    match (v4, v6) {
        (Ok(mut first), Ok(second)) => {
            first.extend(second);
            Ok(first)
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(DnsError::Failed), Err(_)) | (Err(_), Err(DnsError::Failed)) => Err(DnsError::Failed),
        (Err(DnsError::NoSuchName), Err(DnsError::NoSuchName)) => Err(DnsError::NoSuchName),
        (Err(_), Err(_)) => Err(DnsError::NoRecords),
    }
}

/// Answers from a table; the double that this crate's own tests use.
#[cfg(test)]
pub(crate) mod scripted {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::HashMap;

    use super::{Dns, DnsError, IpAddr, async_trait};

    /// Names that are not in the table do not exist.
    #[derive(Default)]
    pub(crate) struct ScriptedDns {
        pub(crate) addresses: HashMap<&'static str, Result<Vec<IpAddr>, DnsError>>,
        pub(crate) exchangers: HashMap<&'static str, Result<Vec<String>, DnsError>>,
        pub(crate) asked: std::sync::atomic::AtomicUsize,
    }

    impl ScriptedDns {
        pub(crate) fn address(mut self, name: &'static str, found: &[&str]) -> Self {
            let found = found.iter().map(|text| text.parse().unwrap()).collect();
            self.addresses.insert(name, Ok(found));
            self
        }
    }

    #[async_trait]
    impl Dns for ScriptedDns {
        async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
            self.addresses.get(name).cloned().unwrap_or(Err(DnsError::NoSuchName))
        }

        async fn mail_exchangers(&self, domain: &str) -> Result<Vec<String>, DnsError> {
            self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
            self.exchangers.get(domain).cloned().unwrap_or(Err(DnsError::NoSuchName))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;

    use hickory_resolver::net::NoRecords;
    use hickory_resolver::proto::op::Query;
    use hickory_resolver::proto::rr::rdata::{A, MX};
    use rstest::rstest;

    use super::*;

    #[test]
    fn an_exchange_is_a_name_in_lower_case_and_the_root_an_empty_one() {
        let named = |text: &str| exchange(&RData::MX(MX::new(10, Name::from_ascii(text).unwrap())));
        assert_eq!(named("MX1.Example.COM."), Some("mx1.example.com".to_owned()));
        assert_eq!(named("."), Some(String::new()), "RFC 7505");
        assert_eq!(exchange(&RData::A(A(Ipv4Addr::LOCALHOST))), None);
    }

    #[test]
    fn only_an_answer_with_authority_proves_that_there_is_nothing() {
        let nothing = |code, is_referral: bool| {
            let mut nothing = NoRecords::new(Query::default(), code);
            nothing.ns = is_referral.then(|| Arc::from([]));
            proven(&NetError::Dns(HickoryError::NoRecordsFound(nothing)))
        };
        assert_eq!(nothing(ResponseCode::NXDomain, false), DnsError::NoSuchName);
        assert_eq!(nothing(ResponseCode::NoError, false), DnsError::NoRecords);
        assert_eq!(nothing(ResponseCode::NoError, true), DnsError::Failed, "a referral");
        assert_eq!(nothing(ResponseCode::ServFail, false), DnsError::Failed);
        assert_eq!(nothing(ResponseCode::Refused, true), DnsError::Failed);
        assert_eq!(proven(&NetError::Timeout), DnsError::Failed);
    }

    #[rstest]
    #[case(Ok(()), Err(DnsError::Failed), Ok(()))]
    #[case(Err(DnsError::NoRecords), Ok(()), Ok(()))]
    #[case(Err(DnsError::NoRecords), Err(DnsError::Failed), Err(DnsError::Failed))]
    #[case(Err(DnsError::Failed), Err(DnsError::NoSuchName), Err(DnsError::Failed))]
    #[case(Err(DnsError::NoSuchName), Err(DnsError::NoSuchName), Err(DnsError::NoSuchName))]
    #[case(Err(DnsError::NoSuchName), Err(DnsError::NoRecords), Err(DnsError::NoRecords))]
    fn two_answers_prove_no_more_than_both(
        #[case] v4: Result<(), DnsError>,
        #[case] v6: Result<(), DnsError>,
        #[case] expected: Result<(), DnsError>,
    ) {
        let one = || vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
        assert_eq!(merge(v4.map(|()| one()), v6.map(|()| one())).map(|_| ()), expected);
    }

    #[tokio::test]
    async fn what_is_no_name_is_not_asked_and_proves_nothing() {
        let dns = SystemDns::new().unwrap();
        for text in ["a..b", &"a".repeat(64)] {
            assert_eq!(dns.mail_exchangers(text).await, Err(DnsError::Failed), "{text}");
            assert_eq!(dns.addresses(text).await, Err(DnsError::Failed), "{text}");
        }
    }

    #[tokio::test]
    async fn localhost_needs_no_name_server() {
        let dns = SystemDns::new().unwrap();
        let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        for name in ["localhost", "LocalHost.", "db.localhost"] {
            assert!(is_localhost(name), "{name}");
            assert_eq!(dns.addresses(name).await.unwrap(), loopback, "{name}");
        }
        for name in ["localhost.example", "mylocalhost", "example.com"] {
            assert!(!is_localhost(name), "{name}");
        }
    }

    #[test]
    fn the_search_list_is_for_single_labels_only() {
        let is_absolute = |text: &str| dns_name(text).unwrap().is_fqdn();
        assert!(!is_absolute("mail"));
        assert!(is_absolute("mail.example") && is_absolute("mx.mail.example"));
    }
}
