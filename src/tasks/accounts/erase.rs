//! `account_erase`: everything of an account goes, here and at Stripe, but for the hashes of who unsubscribed from it.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ACCOUNT;
use crate::{
    billing::customers,
    clock::Timestamp,
    engine,
    errors::Code,
    models::{
        accounts::{
            self, erase,
            lookup::{self, Known},
        },
        removal,
    },
    points,
    tasks::{
        arguments::{Arguments, Manual, needed, optional},
        operation::{Desk, Operation},
        report::Report,
    },
};

/// How often a lane that still sends is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The argument for who has no key of Stripe's any more.
const CUSTOMER: &str = "customer";

/// Erases an account.
pub(in crate::tasks) struct Erase;

#[derive(Serialize)]
struct Erased {
    id: Uuid,
    erased_at: Timestamp,
    /// Those of other accounts that were to be removed before it, too.
    batches_of_all: u64,
}

#[async_trait]
impl Operation for Erase {
    const MANUAL: Manual = Manual {
        name: "account_erase",
        detail: "Remove an account and everything it has, for good; run it again if it was interrupted",
        arguments: &[
            ACCOUNT,
            needed("confirm", "the account's email address, which says that you mean it"),
            optional(
                CUSTOMER,
                "the id of its customer at Stripe, which says that you deleted that there yourself",
            ),
        ],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let desk = Desk::open(ctx).await?;
        let known = lookup::find(&desk.reads, given.needed("account")).await?;
        if known.erased_at.is_none() && !given.needed("confirm").eq_ignore_ascii_case(&known.email) {
            return Err(given.wrong("confirm"));
        }
        refuse_what_would_stay(&desk, given, &known).await?;
        let now = Timestamp::now();
        let begun = desk.write(async |system| erase::begin(&system.account(known.id), now).await).await;
        begun.map_err(|error| {
            if error.code == Code::Unprocessable { given.refuse(&error.message) } else { error.into() }
        })?;
        leave_stripe(&desk, given, &known).await?;
        let batches_of_all = remove_all(&desk, given, &known).await?;
        let erased_at = erase::ended_at(&desk.reads, known.id).await?.unwrap_or(now);
        Report::of(&Erased { id: known.id, erased_at, batches_of_all })
    }
}

/// Without a key of Stripe's its customer would stay there, and go on paying for whatever it buys.
async fn refuse_what_would_stay(desk: &Desk, given: &Arguments<'_>, known: &Known) -> Result<()> {
    let Some(customer) = accounts::customer(&desk.reads.account(known.id)).await? else { return Ok(()) };
    match given.text(CUSTOMER) {
        Some(said) if said != customer => Err(given.wrong(CUSTOMER)),
        None if desk.state.stripe.is_none() => Err(given.refuse(&format!(
            "the account is the customer {customer} at Stripe: set STRIPE_SECRET_KEY, or delete it there and say \
             `{CUSTOMER}:{customer}`"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Deletes its customer, once nobody can open a page of Stripe's for it any more.
async fn leave_stripe(desk: &Desk, given: &Arguments<'_>, known: &Known) -> Result<()> {
    if given.text(CUSTOMER).is_some() {
        let forgotten = desk.write(async |system| erase::forget_customer(&system.account(known.id)).await);
        return Ok(forgotten.await?);
    }
    let Some(stripe) = desk.state.stripe.as_ref().filter(|_| known.erased_at.is_none()) else {
        return Ok(());
    };
    customers::forget(&desk.state, stripe, known.id, &known.email).await.map_err(|error| {
        given
            .refuse(&format!("the account is locked, and Stripe still knows it; run it again later: {error}"))
    })
}

/// Removes batch after batch. What a lane is sending is waited for, as long as a lane may take for it; what a dead process
/// held is given up.
async fn remove_all(desk: &Desk, given: &Arguments<'_>, known: &Known) -> Result<u64> {
    let engine = desk.state.settings.engine;
    let (patience, mut moved, mut batches) = (engine.final_reply + engine.dead_after, Instant::now(), 0);
    loop {
        while desk.write(async |system| removal::remove_some(system, Timestamp::now()).await).await? {
            (moved, batches) = (Instant::now(), batches + 1);
            points::reach("task_after_batch");
        }
        if erase::ended_at(&desk.reads, known.id).await?.is_some() {
            return Ok(batches);
        }
        if moved.elapsed() > patience {
            return Err(given.refuse("the account is still sending; run it again later"));
        }
        settle(desk).await.map_err(|error| loco_rs::Error::Message(error.to_string()))?;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What the engine does meanwhile, if there is one: it gives up what dead processes and dead requests held.
async fn settle(desk: &Desk) -> std::result::Result<(), engine::BoxError> {
    engine::recover(&desk.state).await?;
    engine::sweep(&desk.state.db, &CancellationToken::new()).await?;
    Ok(())
}
