//! Accounts: the tenants. What operators do with whole accounts is below: `lookup`, `erase`, `export`.

pub mod erase;
pub mod export;
pub mod lookup;

use uuid::Uuid;

use super::{api_keys, email_address::EmailAddress, plans, states::ClientKind};
use crate::{
    clock::{Timestamp, new_id},
    crypto::ApiKeyPlaintext,
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
