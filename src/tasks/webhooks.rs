//! `webhooks_redeliver`: what an endpoint missed is sent once more.

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext};
use serde::Serialize;

use super::{
    accounts::ANY_ACCOUNT,
    arguments::{Arguments, Manual, needed, optional},
    operation::{Desk, Operation},
    report::Report,
};
use crate::{
    clock::Timestamp,
    errors::{ApiError, Code},
    models::{
        webhook_deliveries::again::{self, Wanted},
        webhooks,
    },
    points,
};

/// Has deliveries sent again.
pub(super) struct Redeliver;

#[derive(Serialize)]
struct Redelivered {
    since: Timestamp,
    redelivered: u64,
    /// Those of webhooks that are disabled.
    disabled: u64,
}

#[async_trait]
impl Operation for Redeliver {
    const MANUAL: Manual = Manual {
        name: "webhooks_redeliver",
        detail: "Send webhook deliveries again that failed since a time; their ids stay",
        arguments: &[
            needed("since", "days (such as `7d`) or an ISO 8601 time"),
            ANY_ACCOUNT,
            optional("webhook", "a webhook's id; all webhooks if left out"),
            optional("state", "`failed` or `all` (those that arrived too); failed if left out"),
        ],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let (since, webhook_id) = (given.since("since", Timestamp::now())?, given.optional_id("webhook")?);
        let arrived_too = given.one_of("state", &[("failed", false), ("all", true)])?.unwrap_or(false);
        let desk = Desk::open(ctx).await?;
        let account_id = desk.optional_account(given).await?;
        if let Some(id) = webhook_id {
            let owner = webhooks::owner(&desk.reads, id).await?;
            if account_id.is_some_and(|account| account != owner) {
                return Err(ApiError::new(Code::WebhookNotFound).into());
            }
        }
        let wanted = Wanted { since, account_id, webhook_id, arrived_too };
        let mut done = Redelivered { since, redelivered: 0, disabled: 0 };
        let mut after = None;
        loop {
            let now = Timestamp::now();
            let batch =
                desk.write(async |system| again::redeliver(system, &wanted, after, now).await).await?;
            done.redelivered += batch.redelivered;
            done.disabled += batch.disabled;
            points::reach("task_after_batch");
            after = batch.last;
            if after.is_none() {
                return Report::of(&done);
            }
        }
    }
}
