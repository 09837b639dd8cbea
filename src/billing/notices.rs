//! What owners are told of their plan: that most of a period's sends are used, that all are, and that an invoice could
//! not be paid. Each once; whoever passes both marks between two looks is told of the second alone.

use crate::{
    clock::Timestamp,
    db::{self, Db},
    errors::ApiResult,
    mailers::{self, Mail},
    models::{accounts, periods::told},
    tenancy::{Conn, Scope, SystemScope},
};

/// Periods that are looked at in one go.
const MOST: u32 = 200;

/// Stores a mail for each period whose sends passed a mark that its owner was not told of; answers how many. Each commits
/// together with the note that it was told.
///
/// # Errors
/// What the database refuses.
pub async fn tell_of_usage(db: &Db, now: Timestamp) -> ApiResult<usize> {
    let reads = SystemScope::new(Conn::Pool(db.pool().clone()));
    let mut count = 0;
    for found in db::in_time(told::passed(&reads, now, MOST)).await? {
        let stored = db::in_time(SystemScope::in_transaction(db, async |system| {
            let scope = system.account(found.account_id);
            if !told::note(&scope, found.period_start, found.percent).await? {
                return Ok(false);
            }
            let told::Passed { percent, period_start, period_end, sends, limit, plan, .. } = found.clone();
            let mail = Mail::PlanUsage { percent, period_start, period_end, sends, limit, plan };
            mailers::enqueue(&scope, mail).await?;
            Ok::<_, crate::errors::ApiError>(true)
        }))
        .await?;
        count += usize::from(stored);
    }
    Ok(count)
}

/// Stores the mail about an invoice that could not be paid.
///
/// # Errors
/// What the database refuses.
pub async fn tell_of_failed_payment(scope: &Scope, invoice: &str) -> ApiResult<()> {
    let plan = accounts::current(scope).await?.plan_slug;
    Ok(mailers::enqueue(scope, Mail::PaymentFailed { invoice: invoice.to_owned(), plan }).await?)
}
