//! Accounts: the tenants. What operators do with whole accounts is below: `lookup`, `erase`, `export`.

pub mod erase;
pub mod export;
pub mod lookup;

use uuid::Uuid;

use super::{
    api_keys,
    email_address::EmailAddress,
    periods::{self, Period},
    plans::{self, Plan},
    states::ClientKind,
};
use crate::{
    clock::{Timestamp, new_id},
    crypto::ApiKeyPlaintext,
    db::key_lock_sql,
    errors::{ApiError, Code, Constraint, Failures, Reason, on_constraint},
    mailers::{self, Mail},
    tenancy::{Scope, SystemScope},
};

/// The label of the key that signing up gives.
const FIRST_KEY_LABEL: &str = "Signup default";

const EMAIL_TAKEN: Constraint = Constraint::Unique { name: "uq_accounts_email", columns: "accounts.email" };

/// What signing up made.
#[derive(Debug)]
pub struct SignedUp {
    /// The new account.
    pub account_id: Uuid,
    /// Its plan.
    pub plan_slug: &'static str,
    /// Its first key.
    pub key: api_keys::Model,
    /// The key itself, which nobody can read again.
    pub plaintext: ApiKeyPlaintext,
}

/// An account as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: Uuid,
    /// The owner's address.
    pub email: String,
    /// The owner's name.
    pub name: Option<String>,
    /// The plan it is on.
    pub plan_slug: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Makes an account on the free plan, with its first key; its owner is welcomed.
///
/// # Errors
/// `validation_failed` when the address is taken.
pub async fn sign_up(
    system: &SystemScope,
    email: &EmailAddress,
    name: Option<&str>,
) -> Result<SignedUp, ApiError> {
    let account_id = new_id();
    let plan_id = plans::id_of(system, plans::FREE).await?;
    let inserted = system
        .execute(
            "INSERT INTO accounts (id, plan_id, email, name, created_at) VALUES ($1, $2, $3, $4, $5)",
            [
                account_id.into(),
                plan_id.into(),
                email.key().into(),
                name.map(str::to_owned).into(),
                Timestamp::now().micros().into(),
            ],
        )
        .await;
    on_constraint(inserted, &[(EMAIL_TAKEN, &|| Failures::one("email", Reason::Taken))])?;
    let scope = system.account(account_id);
    let (key, plaintext) = api_keys::make(&scope, FIRST_KEY_LABEL, ClientKind::Direct).await?;
    mailers::enqueue(&scope, Mail::Welcome).await?;
    Ok(SignedUp { account_id, plan_slug: plans::FREE, key, plaintext })
}

/// The account of a scope.
///
/// # Errors
/// `unauthorized` when it was erased meanwhile.
pub async fn current(scope: &Scope) -> Result<Account, ApiError> {
    let row = scope
        .query_one(
            "SELECT a.id, a.email, a.name, a.created_at, p.slug FROM accounts a JOIN plans p ON p.id = a.plan_id \
             WHERE a.id = $1 AND a.deleted_at IS NULL",
            [],
        )
        .await?
        .ok_or_else(|| ApiError::new(Code::Unauthorized))?;
    Ok(Account {
        id: row.try_get("", "id")?,
        email: row.try_get("", "email")?,
        name: row.try_get("", "name")?,
        plan_slug: row.try_get("", "slug")?,
        created_at: row.try_get("", "created_at")?,
    })
}

/// What an account is on, what it has sent, and what Stripe knows it as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billing {
    /// Its plan.
    pub plan: Plan,
    /// Its current period.
    pub period: Period,
    /// The subscription that the plan follows.
    pub subscription_id: Option<String>,
    /// The customer.
    pub customer_id: Option<String>,
}

/// How the account of a scope is billed.
///
/// # Errors
/// What the database refuses.
pub async fn billing(scope: &Scope, system: &SystemScope, now: Timestamp) -> Result<Billing, ApiError> {
    let period = periods::current(scope, now).await?;
    let sql = "SELECT stripe_subscription_id, stripe_customer_id FROM accounts WHERE id = $1";
    let row = scope.query_one(sql, []).await?.ok_or_else(|| ApiError::new(Code::Unauthorized))?;
    Ok(Billing {
        plan: plans::find(system, &period.plan_slug).await?,
        period,
        subscription_id: row.try_get("", "stripe_subscription_id")?,
        customer_id: row.try_get("", "stripe_customer_id")?,
    })
}

/// Keeps the account as it is until the transaction ends; what refers to it may be stored meanwhile. False when it is gone.
///
/// # Errors
/// What the database refuses.
pub async fn hold(scope: &Scope) -> Result<bool, ApiError> {
    let lock = key_lock_sql(scope.backend());
    let sql = format!("SELECT id FROM accounts WHERE id = $1 AND deleted_at IS NULL{lock}");
    Ok(scope.query_one(&sql, []).await?.is_some())
}

/// What Stripe knows the account of a scope as.
///
/// # Errors
/// What the database refuses.
pub async fn customer(scope: &Scope) -> Result<Option<String>, ApiError> {
    let row = scope.query_one("SELECT stripe_customer_id FROM accounts WHERE id = $1", []).await?;
    Ok(row.map(|row| row.try_get("", "stripe_customer_id")).transpose()?.flatten())
}

/// The account that is this customer of Stripe. `uq_accounts_stripe_customer`
///
/// # Errors
/// What the database refuses.
pub async fn of_customer(system: &SystemScope, customer: &str) -> Result<Option<Uuid>, ApiError> {
    let sql = "SELECT id FROM accounts WHERE stripe_customer_id = $1 AND deleted_at IS NULL";
    let row = system.query_one(sql, [customer.into()]).await?;
    Ok(row.map(|row| row.try_get("", "id")).transpose()?)
}

/// Notes what Stripe knows the account of a scope as; `false` when it is known as something already.
///
/// # Errors
/// What the database refuses.
pub async fn keep_customer(scope: &Scope, customer: &str) -> Result<bool, ApiError> {
    let sql = "UPDATE accounts SET stripe_customer_id = $2 WHERE id = $1 AND stripe_customer_id IS NULL \
               AND deleted_at IS NULL";
    Ok(scope.execute(sql, [customer.into()]).await? > 0)
}

/// Up to `most` accounts that Stripe does not know, after the one of this id. `ix_accounts_without_customer`
///
/// # Errors
/// What the database refuses.
pub async fn lacking_customer(
    system: &SystemScope,
    after: Option<Uuid>,
    most: u32,
) -> Result<Vec<Uuid>, ApiError> {
    let sql = "SELECT id FROM accounts WHERE stripe_customer_id IS NULL AND deleted_at IS NULL AND id > $1 \
               ORDER BY id LIMIT $2";
    let rows = system.query(sql, [after.unwrap_or_default().into(), i64::from(most).into()]).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}
