//! Everything of one account, table by table and row by row, as it is stored: without its secrets, and a page at a time,
//! so that the size of an account costs no memory.
//!
//! Columns are taken from the entities, so that a new one cannot be forgotten. Bytes are left out, whatever they are:
//! passwords, keys and digests are bytes (`models::sealed`). Only the hashes of suppressed addresses are shown.

use futures_util::future::BoxFuture;
use sea_orm::{EntityTrait, FromQueryResult, IdenStatic, Iterable, ModelTrait, PrimaryKeyToColumn, Value};
use serde_json::{Map, Value as Json};

use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult},
    models::_entities::{
        account_periods, accounts, api_keys, batches, campaign_totals, campaigns, contact_imports, contacts,
        credential_days, deliveries, enroll_jobs, enrollment_skips, enrollments, former_addresses, mailboxes,
        outreaches, parked_mails, sequence_steps, smtp_credentials, stripe_events, subscriptions,
        suppressions, test_messages, usage_hours, webhook_attempts, webhook_deliveries, webhooks,
    },
    tenancy::Scope,
};

/// Rows that are held at a time.
const PAGE: u64 = 1_000;

/// The one column of bytes that is shown: a hash by a key that never leaves the installation.
const HASHES: (&str, &str) = ("suppressions", "email_hash");

/// Times that are not named `…_at`.
const TIMES: [&str; 9] = [
    "failing_since",
    "hour",
    "leased_until",
    "locked_until",
    "period_end",
    "period_start",
    "reserved_period",
    "subscription_end",
    "subscription_start",
];

/// Days, counted from the epoch.
const DAYS: [&str; 2] = ["day", "reserved_day"];

/// Who a row is leased by means nothing to anybody else.
const INNER: [&str; 6] = ["holder", "lease_token", "locked_until", "leased_until", "process_id", "token"];

/// What takes a row.
pub type Take<'a> = &'a mut (dyn for<'r> FnMut(&'r Map<String, Json>) -> ApiResult<()> + Send);

/// A table of an account.
#[derive(Clone, Copy)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    rows: for<'a> fn(&'a Scope, Take<'a>) -> BoxFuture<'a, ApiResult<u64>>,
}

impl Table {
    /// Hands every row of the account to `take`, in the order of keys; answers how many there were.
    ///
    /// # Errors
    /// Those of `take`, and what the database refuses.
    pub async fn rows(&self, scope: &Scope, take: Take<'_>) -> ApiResult<u64> {
        (self.rows)(scope, take).await
    }
}

macro_rules! tables {
    ($($table:ident),+ $(,)?) => {
        /// All that is exported. What is left out: answers kept for repeated requests, which end with their day, and
        /// the text of imports that were not read yet.
        pub const TABLES: [Table; [$(stringify!($table)),+].len()] = [$(Table {
            name: stringify!($table),
            rows: |scope, take| Box::pin(rows::<$table::Entity>(scope, take)),
        }),+];
    };
}

tables!(
    accounts,
    account_periods,
    api_keys,
    usage_hours,
    subscriptions,
    stripe_events,
    contact_imports,
    contacts,
    suppressions,
    outreaches,
    campaigns,
    sequence_steps,
    smtp_credentials,
    credential_days,
    mailboxes,
    parked_mails,
    campaign_totals,
    batches,
    enrollments,
    former_addresses,
    deliveries,
    enrollment_skips,
    enroll_jobs,
    test_messages,
    webhooks,
    webhook_deliveries,
    webhook_attempts,
);

async fn rows<E>(scope: &Scope, take: Take<'_>) -> ApiResult<u64>
where
    E: EntityTrait,
    E::Model: ModelTrait<Entity = E> + FromQueryResult + Send + Sync,
{
    let table = E::default();
    let name = table.table_name();
    let owner = if name == "accounts" { "id" } else { "account_id" };
    // The account is the same in all of them: with it in the comparison, SQLite would read each page from the first row.
    let keys = E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column);
    let keys: Vec<E::Column> = keys.filter(|key: &E::Column| key.as_str() != "account_id").collect();
    let order = keys.iter().map(IdenStatic::as_str).collect::<Vec<_>>().join(", ");
    let holes: Vec<String> = (2..).take(keys.len()).map(|hole| format!("${hole}")).collect();
    let (mut last, mut count): (Vec<Value>, u64) = (Vec::new(), 0);
    loop {
        let behind =
            if last.is_empty() { String::new() } else { format!(" AND ({order}) > ({})", holes.join(", ")) };
        let sql = format!("SELECT * FROM {name} WHERE {owner} = $1{behind} ORDER BY {order} LIMIT {PAGE}");
        let page = scope.query(&sql, std::mem::take(&mut last)).await?;
        for row in &page {
            let row = E::Model::from_query_result(row, "")?;
            take(&to_json(name, &row)?)?;
            last = keys.iter().map(|key| row.get(*key)).collect();
        }
        count += page.len() as u64;
        if (page.len() as u64) < PAGE {
            return Ok(count);
        }
    }
}

/// A row without what must not leave the database.
fn to_json<M: ModelTrait>(table: &str, row: &M) -> ApiResult<Map<String, Json>> {
    let mut shown = Map::new();
    for column in <M::Entity as EntityTrait>::Column::iter() {
        let name = column.as_str();
        let value = row.get(column);
        let hidden = matches!(value, Value::Bytes(_)) && (table, name) != HASHES;
        if hidden || INNER.contains(&name) {
            continue;
        }
        let plain = plain(name, value);
        let plain = plain.ok_or_else(|| ApiError::internal(format!("{table}.{name} has no form")))?;
        shown.insert(name.to_owned(), plain);
    }
    Ok(shown)
}

fn is_time(column: &str) -> bool {
    column.ends_with("_at") || TIMES.contains(&column)
}

/// `None`: a type that no column of ours has.
fn plain(column: &str, value: Value) -> Option<Json> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum has a variant for every type of any database"
    )]
    Some(match value {
        Value::BigInt(Some(micros)) if is_time(column) => Timestamp::from_micros(micros).to_string().into(),
        Value::BigInt(Some(day)) if DAYS.contains(&column) => Timestamp::from_day(day).to_string().into(),
        Value::Bool(value) => value.into(),
        Value::Int(value) => value.into(),
        Value::BigInt(value) => value.into(),
        Value::Double(value) => value.into(),
        Value::String(value) => value.into(),
        Value::Uuid(value) => value.map(|id| id.to_string()).into(),
        Value::Json(value) => value.map_or(Json::Null, |value| *value),
        Value::Bytes(value) => value.map(|bytes| hex(&bytes)).into(),
        _ => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
