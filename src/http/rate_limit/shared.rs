//! Windows in Redis, where several nodes serve. One request is one round trip, and Redis runs a script as a whole, so
//! that nodes never count past each other.
//!
//! Redis is a help, not a need: when it does not answer in time, nobody waits for it but one request a second, the
//! fact is logged now and then, and the caller goes by its own count. It is used again as soon as it answers.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{
    Client, RedisError, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use super::{Count, Subject};
use crate::{config::ConfigError, metrics};

/// How long a request waits for an answer; on a network of one's own it takes less than a millisecond.
const ANSWER_WITHIN: Duration = Duration::from_millis(250);
/// How long nobody asks after a failure.
const LEAVE_ALONE: Duration = Duration::from_secs(1);
/// How often a lasting failure is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Counts, and gives the window an end when it begins. A key without an end (it was made by hand, say) gets one.
const COUNT: &str = "
local used = redis.call('INCR', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    left = tonumber(ARGV[1])
end
return {used, left}";

/// The connection to the shared store, and whether it is any good at the moment.
pub struct Store {
    client: Client,
    count: Script,
    /// Made at the first use, which is on the runtime.
    manager: Mutex<Option<ConnectionManager>>,
    health: Mutex<Health>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address may hold a password.
        f.debug_struct("Store").field("health", &self.health).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Health {
    /// Set while it is away: when to ask again.
    ask_again: Option<Instant>,
    logged: Option<Instant>,
}

impl Store {
    /// A store that is connected to when it is first used.
    ///
    /// # Errors
    /// The address cannot be meant.
    pub fn open(url: &str) -> Result<Self, ConfigError> {
        // The driver's own words may repeat the address, and so its password.
        let client = Client::open(url).map_err(|_| {
            ConfigError::new("REDIS_URL", "must be redis://[user:password@]host[:port][/database]")
        })?;
        Ok(Self { client, count: Script::new(COUNT), manager: Mutex::default(), health: Mutex::default() })
    }

    /// Counts a request; `None` when the store is away.
    pub async fn count(&self, subject: Subject, window: Duration) -> Option<Count> {
        if !self.worth_asking(Instant::now()) {
            return None;
        }
        match tokio::time::timeout(ANSWER_WITHIN, self.ask(subject, window)).await {
            Ok(Ok(count)) => {
                self.note_success();
                Some(count)
            }
            Ok(Err(error)) => {
                self.note_failure(&error.to_string(), Instant::now());
                None
            }
            Err(_) => {
                self.note_failure("no answer in time", Instant::now());
                None
            }
        }
    }

    /// Whether it answers, for an operator who asks.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), RedisError> {
        redis::cmd("PING").query_async::<String>(&mut self.manager()?).await.map(drop)
    }

    async fn ask(&self, subject: Subject, window: Duration) -> Result<Count, RedisError> {
        let name = match subject {
            Subject::Key(id) => format!("ampout:limit:key:{id}"),
            Subject::Network(network) => format!("ampout:limit:signup:{network}"),
        };
        let mut manager = self.manager()?;
        let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let (used, left): (u64, u64) = self.count.key(name).arg(millis).invoke_async(&mut manager).await?;
        Ok(Count { used, resets_in: Duration::from_millis(left) })
    }

    fn manager(&self) -> Result<ConnectionManager, RedisError> {
        let mut known = self.manager.lock();
        if let Some(manager) = known.as_ref() {
            return Ok(manager.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(ANSWER_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN))
            .set_number_of_retries(0);
        let manager = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        *known = Some(manager.clone());
        Ok(manager)
    }

    /// While it is away, one request a second asks for all.
    fn worth_asking(&self, now: Instant) -> bool {
        let mut health = self.health.lock();
        match health.ask_again {
            Some(at) if now < at => false,
            Some(_) => {
                health.ask_again = Some(now + LEAVE_ALONE);
                true
            }
            None => true,
        }
    }

    fn note_success(&self) {
        let mut health = self.health.lock();
        if health.ask_again.take().is_some() {
            health.logged = None;
            tracing::info!("rate limits are shared again: the store answers");
        }
    }

    fn note_failure(&self, error: &str, now: Instant) {
        metrics::limit_store_failed();
        // A new one looks its server up anew.
        *self.manager.lock() = None;
        let mut health = self.health.lock();
        health.ask_again = Some(now + LEAVE_ALONE);
        if health.logged.is_none_or(|last| now.saturating_duration_since(last) >= LOG_EVERY) {
            health.logged = Some(now);
            tracing::warn!(error, "the store of rate limits is away: limits hold for this process alone");
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_store_that_is_away_is_asked_by_one_request_a_second() {
        let store = Store::open("redis://127.0.0.1:1").unwrap();
        let begin = Instant::now();
        assert!(store.worth_asking(begin) && store.worth_asking(begin));
        store.note_failure("gone", begin);
        assert!(!store.worth_asking(begin));
        assert!(store.worth_asking(begin + LEAVE_ALONE));
        assert!(!store.worth_asking(begin + LEAVE_ALONE), "another is asking");
        store.note_success();
        assert!(store.worth_asking(begin + LEAVE_ALONE) && store.worth_asking(begin));
    }

    #[test]
    fn an_address_that_cannot_be_meant_is_refused_without_being_repeated() {
        for wrong in ["localhost", "http://user:hunter2@localhost", "redis://"] {
            let refused = Store::open(wrong).unwrap_err().to_string();
            assert!(refused.starts_with("REDIS_URL") && !refused.contains("hunter2"), "{refused}");
        }
    }
}
