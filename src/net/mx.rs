//! Does a domain take mail? Asked before enrolling, where the campaign wants it.
//!
//! A domain is called invalid only when the DNS proves it; an answer that fails proves nothing, and a contact is
//! never skipped for our own trouble.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::resolve::{Dns, DnsError};

const CONCURRENT: usize = 16;
const CACHED_DOMAINS: u64 = 10_000;
const CACHED_FOR: Duration = Duration::from_hours(1);
const PER_LOOK_UP: Duration = Duration::from_secs(5);

/// What is known about a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MxVerdict {
    /// It has a mail exchanger, or an address to stand in for one (RFC 5321, section 5.1).
    Valid,
    /// It does not exist, has neither, or says that it takes no mail (RFC 7505).
    Invalid,
    /// The DNS did not answer in time, or not with a proof.
    Unknown,
}

/// Looks domains up, a few at a time, and remembers what was proved. Cheap to clone.
#[derive(Clone)]
pub struct MxCheck {
    dns: Arc<dyn Dns>,
    turns: Arc<Semaphore>,
    proved: Cache<String, MxVerdict>,
}

/// Nothing was proved; not worth remembering.
#[derive(Clone, Copy, Debug)]
struct Unproved;

impl MxCheck {
    /// Asks this resolver; take the dialler's own (`Dialer::dns`).
    pub fn new(dns: Arc<dyn Dns>) -> Self {
        let proved = Cache::builder().max_capacity(CACHED_DOMAINS).time_to_live(CACHED_FOR).build();
        Self { dns, turns: Arc::new(Semaphore::new(CONCURRENT)), proved }
    }

    /// Whether mail to this domain can arrive. Simultaneous questions about one domain are asked once.
    pub async fn has_mx(&self, domain: &str) -> MxVerdict {
        let domain = domain.to_ascii_lowercase();
        let answer = self.proved.try_get_with(domain.clone(), self.prove(domain)).await;
        answer.unwrap_or(MxVerdict::Unknown)
    }

    async fn prove(&self, domain: String) -> Result<MxVerdict, Unproved> {
        let _turn = self.turns.acquire().await.map_err(|_| Unproved)?;
        timeout(PER_LOOK_UP, self.ask(&domain)).await.map_err(|_| Unproved)?
    }

    async fn ask(&self, domain: &str) -> Result<MxVerdict, Unproved> {
        match self.dns.mail_exchangers(domain).await {
            Ok(exchangers) if exchangers.iter().all(String::is_empty) => Ok(MxVerdict::Invalid),
            Ok(_) => Ok(MxVerdict::Valid),
            Err(DnsError::NoSuchName) => Ok(MxVerdict::Invalid),
            Err(DnsError::NoRecords) => match self.dns.addresses(domain).await {
                Ok(_) => Ok(MxVerdict::Valid),
                Err(DnsError::NoSuchName | DnsError::NoRecords) => Ok(MxVerdict::Invalid),
                Err(DnsError::Failed) => Err(Unproved),
            },
            Err(DnsError::Failed) => Err(Unproved),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use rstest::rstest;

    use super::super::resolve::scripted::ScriptedDns;
    use super::*;

    fn script() -> Arc<ScriptedDns> {
        let mut dns = ScriptedDns::default().address("implicit.example", &["192.0.2.1"]);
        dns.exchangers.insert("good.example", Ok(vec!["mx.good.example".to_owned()]));
        dns.exchangers.insert("null.example", Ok(vec![String::new()]));
        dns.exchangers.insert("both.example", Ok(vec![String::new(), "mx.both.example".to_owned()]));
        for name in ["implicit.example", "bare.example", "half.example"] {
            dns.exchangers.insert(name, Err(DnsError::NoRecords));
        }
        dns.addresses.insert("bare.example", Err(DnsError::NoRecords));
        dns.addresses.insert("half.example", Err(DnsError::Failed));
        dns.exchangers.insert("broken.example", Err(DnsError::Failed));
        Arc::new(dns)
    }

    #[rstest]
    #[case("good.example", MxVerdict::Valid)]
    #[case("GOOD.Example", MxVerdict::Valid)]
    #[case("both.example", MxVerdict::Valid)]
    #[case("implicit.example", MxVerdict::Valid)]
    #[case("null.example", MxVerdict::Invalid)]
    #[case("bare.example", MxVerdict::Invalid)]
    #[case("nowhere.example", MxVerdict::Invalid)]
    #[case("half.example", MxVerdict::Unknown)]
    #[case("broken.example", MxVerdict::Unknown)]
    #[tokio::test]
    async fn only_a_proof_makes_a_domain_invalid(#[case] domain: &str, #[case] expected: MxVerdict) {
        assert_eq!(MxCheck::new(script()).has_mx(domain).await, expected);
    }

    #[tokio::test]
    async fn a_proof_is_remembered_and_a_failure_is_not() {
        let dns = script();
        let check = MxCheck::new(Arc::clone(&dns) as Arc<dyn Dns>);
        let (first, second) = tokio::join!(check.has_mx("good.example"), check.has_mx("good.example"));
        assert_eq!((first, second), (MxVerdict::Valid, MxVerdict::Valid));
        assert_eq!(dns.asked.load(Ordering::Relaxed), 1);
        check.has_mx("broken.example").await;
        check.has_mx("broken.example").await;
        assert_eq!(dns.asked.load(Ordering::Relaxed), 3);
    }
}
