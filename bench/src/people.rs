//! People to import: a table of any number of them, whose addresses come in no order, as those of a bought or merged list
//! do. An index that only grows at its end would flatter the database.

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use testkit::{
    api::{Api, Error, text},
    wait::eventually,
};
use uuid::Uuid;

use crate::app::App;

/// Spreads numbers over all of 32 bits without a repetition (Knuth's multiplicative hash; the factor is odd).
const SPREAD: u32 = 2_654_435_761;
/// The people are at so many companies.
const DOMAINS: u32 = 1_000;

/// Signs up; answers a caller with its key, and the key.
///
/// # Errors
/// A call that failed.
pub async fn sign_up(api: Api) -> Result<(Api, String), Error> {
    sign_up_as(api, "bench@example.com").await
}

/// The same under this address.
///
/// # Errors
/// A call that failed.
pub async fn sign_up_as(api: Api, email: &str) -> Result<(Api, String), Error> {
    let account = api.post("/signup", &json!({ "email": email })).await?;
    let key = text(&account, "/api_key/plaintext")?;
    Ok((api.with_key(key.clone()), key))
}

/// A table of so many people.
///
/// # Errors
/// More than fit 32 bits.
pub fn table(rows: u64) -> Result<String, Error> {
    let mut table = String::with_capacity(usize::try_from(rows)?.saturating_mul(96));
    table.push_str("email,first_name,last_name,company,city\n");
    for n in 0..u32::try_from(rows)? {
        let (email, domain) = (address(n), n % DOMAINS);
        writeln!(table, "{email},First{n},Last{n},Company {domain},City {domain}")?;
    }
    Ok(table)
}

/// The same people as a list in JSON: what `POST /contact_imports` takes.
pub fn list(rows: u32) -> Value {
    let person = |n: u32| {
        let domain = n % DOMAINS;
        json!({
            "email": address(n), "first_name": format!("First{n}"), "last_name": format!("Last{n}"),
            "company": format!("Company {domain}"), "custom": { "city": format!("City {domain}") },
        })
    };
    json!({ "contact_import": { "name": "Bench", "contacts": (0..rows).map(person).collect::<Vec<_>>() } })
}

fn address(n: u32) -> String {
    let (name, domain) = (n.wrapping_mul(SPREAD), n % DOMAINS);
    format!("{name:08x}.person@example-{domain}.com")
}

/// A table of so many bytes whose rows are as long as they may be: 50 fields of their own, of 10,000 characters each. The
/// rest is empty lines. Answers also how many rows it has.
///
/// # Errors
/// Never: writing to a text cannot fail.
pub fn long_rows(bytes: usize) -> Result<(String, u64), Error> {
    let mut table = String::with_capacity(bytes);
    table.push_str("email");
    for n in 0..50 {
        write!(table, ",field_{n}")?;
    }
    let fields = format!(",{}", "x".repeat(10_000)).repeat(50);
    let mut rows = 0;
    loop {
        let row = format!("\nperson-{rows}@example.com{fields}");
        if table.len() + row.len() > bytes {
            break;
        }
        table.push_str(&row);
        rows += 1;
    }
    table.extend(std::iter::repeat_n('\n', bytes - table.len()));
    Ok((table, rows))
}

/// Imports a table to its end; answers the import as it then is.
///
/// # Errors
/// A call that failed, or it does not end in time.
pub async fn import(api: &Api, table: String, within: Duration) -> Result<Value, Error> {
    let import = api.post_csv("/contact_imports?name=Bench", table.into_bytes()).await?;
    let path = format!("/contact_imports/{}", text(&import, "/id")?);
    ended(api, &path, within).await
}

/// What is done in the background under this path, once it is over.
///
/// # Errors
/// A call that failed, or it does not end in time.
pub async fn ended(api: &Api, path: &str, within: Duration) -> Result<Value, Error> {
    let over = eventually(within, || async {
        match api.get(path).await {
            Ok(seen) => (seen.get("status")? != "processing").then_some(Ok(seen)),
            Err(error) => Some(Err(error)),
        }
    });
    over.await?
}

/// Contacts that were written behind the application, which takes a tenth of the time of an import.
#[derive(Clone, Debug)]
pub struct Filled {
    /// The id of their import.
    pub import: String,
    /// Milliseconds since the epoch at which the first was made.
    since: u64,
    rows: u64,
}

/// Contacts of one millisecond.
const PER_MILLISECOND: u64 = 100;

/// Fills the account of `api` with so many contacts, beside one that was imported.
///
/// # Errors
/// A call that failed, or what the database refuses.
pub async fn fill(api: &Api, app: &App, rows: u64) -> Result<Filled, Error> {
    let seed = "email,first_name,last_name,company,city\nseed@example.com,First,Last,Company,City\n";
    let import = import(api, seed.to_owned(), app.within).await?;
    let import = text(&import, "/id")?;
    // Older than what is made from now on.
    let now = u64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_millis())?;
    let filled = Filled { import, since: now - rows / PER_MILLISECOND - 60_000, rows };
    let postgres = app.database.kind() == "postgresql";
    for statement in filled.statements(postgres) {
        app.database.run(&statement).await?;
    }
    Ok(filled)
}

impl Filled {
    /// The contact of that place in the list, which shows the newest first; 0 is the first that was filled in.
    pub fn id(&self, place: u64) -> Uuid {
        let number = self.rows.saturating_sub(place);
        let (high, low) = (self.since + number / PER_MILLISECOND, number);
        Uuid::from_u128(u128::from(high) << 80 | 0x7000_8000_u128 << 48 | u128::from(low))
    }

    fn statements(&self, postgres: bool) -> Vec<String> {
        let Self { import, since, rows } = self;
        let import = import.replace('-', "");
        let (id, email, import) = if postgres {
            (
                format!(
                    "CAST(lpad(to_hex({since} + n / {PER_MILLISECOND}), 12, '0') || '70008000' \
                     || lpad(to_hex(n), 12, '0') AS uuid)"
                ),
                format!("lpad(to_hex((n * {SPREAD}) & 4294967295), 8, '0')"),
                format!("'{import}'::uuid"),
            )
        } else {
            (
                format!("unhex(printf('%012x70008000%012x', {since} + n / {PER_MILLISECOND}, n))"),
                format!("printf('%08x', (n * {SPREAD}) & 4294967295)"),
                format!("x'{import}'"),
            )
        };
        let address = format!("{email} || '.person@example-' || (n % 1000) || '.com'");
        let contacts = format!(
            "WITH RECURSIVE series (n) AS (SELECT CAST(1 AS bigint) UNION ALL SELECT n + 1 FROM series WHERE n < {rows}) \
             INSERT INTO contacts (id, account_id, contact_import_id, email, email_key, first_name, last_name, \
             company, custom, created_at) SELECT {id}, o.account_id, o.contact_import_id, {address}, {address}, \
             'First' || n, 'Last' || n, 'Company ' || (n % 1000), o.custom, ({since} + n / {PER_MILLISECOND}) * 1000 \
             FROM series CROSS JOIN contacts o WHERE o.contact_import_id = {import}"
        );
        let counts = format!(
            "UPDATE contact_imports SET record_count = {rows} + 1, contact_count = {rows} + 1, \
             processed_rows = {rows} + 1 WHERE id = {import}"
        );
        // One connection each. What a power cut would take is made again.
        let hasty = "PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -400000";
        if postgres {
            vec![contacts, counts, "VACUUM ANALYZE contacts".to_owned()]
        } else {
            vec![format!("{hasty}; {contacts}; {counts}; PRAGMA wal_checkpoint(TRUNCATE)")]
        }
    }
}
