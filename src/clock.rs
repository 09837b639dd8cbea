//! Time and new identifiers: the only place that reads the machine's clock.
//!
//! Everything else takes a [`Timestamp`] as a parameter, so that a test decides what time it is.
//! Both databases store it as BIGINT: microseconds since the epoch compare and sort alike everywhere,
//! which dates stored as text do not. Leases are not here: they use the database's own clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use sea_orm::DeriveValueType;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// A moment in UTC, in microseconds since 1970-01-01. Leap seconds are not counted, as in Unix time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, DeriveValueType)]
pub struct Timestamp(pub i64);

/// The text is no ISO 8601 date and time with an offset, nor a date alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an ISO 8601 time")]
pub struct NotATime;

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("ISO 8601, UTC, to the second."))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

impl Timestamp {
    /// The moment at which it is called.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now() -> Self {
        Self(Utc::now().timestamp_micros())
    }

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the epoch, as Stripe and signatures give them.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// Later by `wait`. Stops at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(wait)))
    }

    /// Earlier by `wait`. Stops at the beginning of time instead of wrapping.
    #[must_use]
    pub fn minus(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(wait)))
    }

    /// How long ago `earlier` was, seen from here; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// The UTC day: whole days since 1970-01-01, the unit in which daily limits count.
    pub const fn day(self) -> i64 {
        self.0.div_euclid(MICROS_PER_DAY)
    }

    /// Midnight UTC at which the day with this number begins.
    pub const fn from_day(day: i64) -> Self {
        Self(day.saturating_mul(MICROS_PER_DAY))
    }

    /// The first moment of this UTC calendar month.
    #[must_use]
    pub fn month_start(self) -> Self {
        let date = self.to_datetime().date_naive();
        Self::from_date(date.with_day(1).unwrap_or(date))
    }

    /// The first moment of the next UTC calendar month: where a free period ends.
    #[must_use]
    pub fn next_month_start(self) -> Self {
        let first = self.month_start().to_datetime().date_naive();
        Self::from_date(first.checked_add_months(chrono::Months::new(1)).unwrap_or(first))
    }

    /// As chrono's date and time. A moment that chrono cannot hold (200,000 years away) becomes its nearest.
    pub fn to_datetime(self) -> DateTime<Utc> {
        let nearest = if self.0 < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
        DateTime::from_timestamp_micros(self.0).unwrap_or(nearest)
    }

    /// From chrono's date and time; what is finer than a microsecond is dropped.
    pub const fn from_datetime(moment: DateTime<Utc>) -> Self {
        Self(moment.timestamp_micros())
    }

    const fn from_date(date: NaiveDate) -> Self {
        Self::from_datetime(date.and_time(chrono::NaiveTime::MIN).and_utc())
    }
}

/// A length of time in microseconds, as much of it as fits.
fn micros_of(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(moment: DateTime<Utc>) -> Self {
        Self::from_datetime(moment)
    }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(moment: Timestamp) -> Self {
        moment.to_datetime()
    }
}

/// ISO 8601 in UTC to the second, as every answer shows times: `2026-04-27T10:00:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_datetime().to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

/// Accepts a date and time with an offset (`…Z`, `…+02:00`), one without (taken as UTC), or a date alone.
impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self(moment.timestamp_micros()));
        }
        if let Ok(moment) = text.parse::<NaiveDateTime>() {
            return Ok(Self::from_datetime(moment.and_utc()));
        }
        text.parse::<NaiveDate>().map(Self::from_date).map_err(|_| NotATime)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A new identifier: UUID version 7 (RFC 9562), so that ids sort by creation and pages follow them.
#[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn it_is_written_to_the_second_in_utc() {
        let moment = Timestamp::from_micros(1_777_284_000_999_999);
        assert_eq!(moment.to_string(), "2026-04-27T10:00:00Z");
        assert_eq!(serde_json::to_string(&moment).unwrap(), "\"2026-04-27T10:00:00Z\"");
    }

    #[test]
    fn it_is_read_with_an_offset_without_one_and_as_a_date() {
        let ten = Timestamp::from_seconds(1_777_284_000);
        assert_eq!(at("2026-04-27T10:00:00Z"), ten);
        assert_eq!(at("2026-04-27T12:00:00+02:00"), ten);
        assert_eq!(at("2026-04-27T10:00:00"), ten);
        assert_eq!(at("2026-04-27").day(), ten.day());
        assert_eq!(serde_json::from_str::<Timestamp>("\"2026-04-27T10:00:00Z\"").unwrap(), ten);
        for bad in ["", "7d", "2026-13-01", "2026-04-27T10", "yesterday"] {
            assert_eq!(bad.parse::<Timestamp>(), Err(NotATime), "{bad}");
        }
    }

    #[test]
    fn months_begin_and_end_where_the_calendar_says() {
        assert_eq!(at("2026-12-31T23:59:59Z").month_start(), at("2026-12-01T00:00:00Z"));
        assert_eq!(at("2026-12-31T23:59:59Z").next_month_start(), at("2027-01-01T00:00:00Z"));
        assert_eq!(at("2028-02-01T00:00:00Z").next_month_start(), at("2028-03-01T00:00:00Z"));
    }

    #[test]
    fn days_are_counted_from_the_epoch_and_back() {
        assert_eq!(at("1970-01-02T00:00:00Z").day(), 1);
        assert_eq!(at("1969-12-31T23:59:59Z").day(), -1);
        assert_eq!(Timestamp::from_day(at("2026-04-27T10:00:00Z").day()), at("2026-04-27T00:00:00Z"));
    }

    #[test]
    fn arithmetic_stops_at_the_ends_of_time() {
        let last = Timestamp::from_micros(i64::MAX);
        let first = Timestamp::from_micros(i64::MIN);
        assert_eq!(last.plus(Duration::MAX), last);
        assert_eq!(first.minus(Duration::from_secs(1)), first);
        assert_eq!(first.since(last), Duration::ZERO);
        for edge in [first, last] {
            assert!(!edge.to_string().is_empty());
            assert!(edge.month_start() <= edge.next_month_start());
        }
    }

    #[test]
    fn ids_sort_by_creation() {
        let ids: Vec<Uuid> = (0..100).map(|_| new_id()).collect();
        assert!(ids.is_sorted());
    }
}
