//! A change of an account's plan or subscription: its period gives way, and what waited for the limit is looked at anew.

use uuid::Uuid;

use crate::{
    clock::Timestamp,
    db::{RowLock, key_lock_sql, lock_sql},
    errors::ApiResult,
    models::{
        periods::{self, Span, Turn},
        smtp_credentials,
    },
    tenancy::Scope,
};

/// What an account may send, and by which subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The plan.
    pub plan_id: Uuid,
    /// The subscription that the plan follows, by Stripe's id.
    pub subscription_id: Option<String>,
    /// The running period of that subscription.
    pub span: Option<Span>,
}

/// Locks the account, its periods and its active campaigns, in this order, and answers how it stands. `None` when the
/// account is gone. No lane can be left meanwhile, and no ledger counts for the account.
///
/// # Errors
/// What the database refuses.
pub async fn hold(scope: &Scope) -> ApiResult<Option<Standing>> {
    let lock = key_lock_sql(scope.backend());
    let sql = format!(
        "SELECT plan_id, stripe_subscription_id, subscription_start, subscription_end FROM accounts \
         WHERE id = $1 AND deleted_at IS NULL{lock}"
    );
    let Some(row) = scope.query_one(&sql, []).await? else { return Ok(None) };
    periods::hold_all(scope).await?;
    let lock = lock_sql(scope.backend(), RowLock::Update);
    let sql =
        format!("SELECT id FROM campaigns WHERE account_id = $1 AND status = 'active' ORDER BY id{lock}");
    scope.query(&sql, []).await?;
    Ok(Some(Standing {
        plan_id: row.try_get("", "plan_id")?,
        subscription_id: row.try_get("", "stripe_subscription_id")?,
        span: periods::subscription_of(&row)?,
    }))
}

/// Changes what was held to `to`; answers whether that changes anything.
///
/// # Errors
/// What the database refuses.
pub async fn apply(scope: &Scope, held: &Standing, to: &Standing, now: Timestamp) -> ApiResult<bool> {
    let sql = "UPDATE accounts SET plan_id = $2, stripe_subscription_id = $3, subscription_start = $4, \
               subscription_end = $5 WHERE id = $1";
    if held != to {
        let values = [
            to.plan_id.into(),
            to.subscription_id.clone().into(),
            to.span.map(|span| span.start.micros()).into(),
            to.span.map(|span| span.end.micros()).into(),
        ];
        scope.execute(sql, values).await?;
    }
    let turned = periods::turn_over(scope, held.span, to.span, now).await?;
    if held == to && turned == Turn::Stay {
        return Ok(false);
    }
    smtp_credentials::wake_all(scope, now).await?;
    Ok(true)
}
