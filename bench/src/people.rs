//! People to import: a table of any number of them, whose addresses come in no order, as those of a bought or merged list
//! do. An index that only grows at its end would flatter the database.

use std::{fmt::Write, time::Duration};

use serde_json::{Value, json};
use testkit::{
    api::{Api, Error, text},
    wait::eventually,
};

/// Spreads numbers over all of 32 bits without a repetition (Knuth's multiplicative hash; the factor is odd).
const SPREAD: u32 = 2_654_435_761;

/// Signs up; answers a caller with its key, and the key.
///
/// # Errors
/// A call that failed.
pub async fn sign_up(api: Api) -> Result<(Api, String), Error> {
    let account = api.post("/signup", &json!({ "email": "bench@example.com" })).await?;
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
        let name = n.wrapping_mul(SPREAD);
        let domain = n % 1_000;
        writeln!(
            table,
            "{name:08x}.person@example-{domain}.com,First{n},Last{n},Company {domain},City {domain}"
        )?;
    }
    Ok(table)
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
