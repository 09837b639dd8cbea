//! Whether hosts that a tenant named may be dialled, looked up before a transaction begins.
//!
//! This is a courtesy that refuses a mistake early: every connection looks again, at the address that it dials. So a
//! host that does not resolve, or not in time, passes here.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;

use crate::{
    errors::{Failures, Reason},
    net::{DialError, Dialer, is_host},
};

/// How long all look-ups of one request may take together.
const LOOK_UP: Duration = Duration::from_secs(5);
/// Longest name in the DNS, in characters.
const HOST_CHARS: usize = 253;

/// Which of the hosts of a request are internal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(BTreeMap<String, bool>);

impl Hosts {
    /// Looks up all of them, at the same time.
    pub async fn look_up<'a>(dialer: &Dialer, hosts: impl Iterator<Item = Option<&'a str>> + Send) -> Self {
        let mut wanted: Vec<&str> = hosts.flatten().map(str::trim).filter(|host| is_host(host)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let verdicts = join_all(wanted.iter().map(async |host| {
            let answer = tokio::time::timeout(LOOK_UP, dialer.vet(host)).await;
            matches!(answer, Ok(Err(DialError::Internal)))
        }))
        .await;
        Self(wanted.into_iter().map(str::to_owned).zip(verdicts).collect())
    }

    /// Whether the look-up found this host at internal addresses only.
    pub fn is_internal(&self, host: &str) -> bool {
        self.0.get(host).copied().unwrap_or(false)
    }

    /// A required host: a name or an address, not an internal one.
    pub fn check(&self, failures: &mut Failures, field: &str, given: &str) -> Option<String> {
        let host = given.trim();
        if !failures.text(field, host, HOST_CHARS) {
            return None;
        }
        if !is_host(host) {
            failures.add(field, Reason::Invalid);
            return None;
        }
        if self.is_internal(host) {
            failures.add(field, Reason::Other("must not be at an internal address".into()));
            return None;
        }
        Some(host.to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{net::IpAddr, sync::Arc};

    use async_trait::async_trait;

    use super::*;
    use crate::net::{
        DialPolicy,
        resolve::{Dns, DnsError},
    };

    struct Names;

    #[async_trait]
    impl Dns for Names {
        async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
            match name {
                "mail.example" => Ok(vec!["93.184.216.34".parse().unwrap()]),
                "inside.example" => Ok(vec!["10.1.2.3".parse().unwrap()]),
                _ => Err(DnsError::NoSuchName),
            }
        }

        async fn mail_exchangers(&self, _: &str) -> Result<Vec<String>, DnsError> {
            Err(DnsError::NoRecords)
        }
    }

    async fn refusal(allow_private: bool, host: &str) -> Option<String> {
        let policy = DialPolicy { allow_private, allow_plain_mail: false };
        let dialer = Dialer::with(policy, Arc::new(Names), &[]).unwrap();
        let hosts = Hosts::look_up(&dialer, std::iter::once(Some(host))).await;
        let mut failures = Failures::new();
        let checked = hosts.check(&mut failures, "smtp_host", host);
        failures.finish(checked).err().map(|error| error.message.into_owned())
    }

    #[tokio::test]
    async fn a_host_at_an_internal_address_is_refused_in_any_spelling() {
        let message = Some("Smtp host must not be at an internal address".to_owned());
        let internal = ["127.0.0.1", "0x7f.1", "2130706433", "[::ffff:10.0.0.1]", "::1", " inside.example "];
        for host in internal {
            assert_eq!(refusal(false, host).await, message, "{host}");
            assert_eq!(refusal(true, host).await, None, "{host}");
        }
    }

    #[tokio::test]
    async fn a_host_that_does_not_resolve_passes_and_one_that_is_none_does_not() {
        assert_eq!(refusal(false, "mail.example").await, None);
        assert_eq!(refusal(false, "nowhere.example").await, None);
        assert_eq!(refusal(false, "no host").await.unwrap(), "Smtp host is invalid");
        assert_eq!(refusal(false, "").await.unwrap(), "Smtp host can't be blank");
    }
}
