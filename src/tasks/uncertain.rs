//! Deliveries of which nobody knows what became: found over all accounts, and settled.

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext};
use serde::Serialize;
use uuid::Uuid;

use super::{
    accounts::ANY_ACCOUNT,
    arguments::{Arguments, Manual, needed, optional},
    operation::{Desk, Operation},
    report::Report,
};
use crate::{
    clock::Timestamp,
    errors::{ApiResult, Code},
    models::{
        campaigns,
        deliveries::{self, Resolution, uncertain},
    },
    points,
};

/// Rows of one look when a whole campaign is settled.
const PAGE: u32 = 200;

/// Lists them.
pub(super) struct List;

#[async_trait]
impl Operation for List {
    const MANUAL: Manual = Manual {
        name: "uncertain_list",
        detail: "List deliveries that may or may not have been sent, oldest first",
        arguments: &[
            ANY_ACCOUNT,
            optional("campaign", "a campaign's id; all campaigns if left out"),
            optional("after", "the id of the last delivery seen, to go on behind it"),
            optional("limit", "how many, from 1 to 10000; 100 if left out"),
        ],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let (campaign_id, after) = (given.optional_id("campaign")?, given.optional_id("after")?);
        let limit = given.limit("limit", 100, 10_000)?;
        let desk = Desk::open(ctx).await?;
        let account_id = desk.optional_account(given).await?;
        let wanted = uncertain::Wanted { account_id, campaign_id, after, limit };
        Report::of(&uncertain::list(&desk.reads, &wanted).await?)
    }
}

/// Settles one, or those of a campaign.
pub(super) struct Resolve;

#[derive(Serialize)]
struct Resolved {
    resolved: u64,
    /// Those that somebody else settled meanwhile, or whose enrollment has ended.
    left: u64,
}

#[async_trait]
impl Operation for Resolve {
    const MANUAL: Manual = Manual {
        name: "uncertain_resolve",
        detail: "Settle an uncertain delivery, or all of a campaign: it was sent, or is to be sent again",
        arguments: &[
            needed("as", "`sent` or `resend`"),
            optional("delivery", "a delivery's id; this or a campaign is needed"),
            optional("campaign", "a campaign's id: all that are uncertain in it"),
        ],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let words = [("sent", Resolution::Sent), ("resend", Resolution::Resend)];
        let resolution = given.one_of("as", &words)?.unwrap_or(Resolution::Sent);
        let named = (given.optional_id("delivery")?, given.optional_id("campaign")?);
        let desk = Desk::open(ctx).await?;
        match named {
            (Some(id), None) => {
                let account_id = uncertain::owner(&desk.reads, id).await?;
                resolve(&desk, account_id, id, resolution).await?;
                Report::of(&Resolved { resolved: 1, left: 0 })
            }
            (None, Some(id)) => {
                campaigns::owner(&desk.reads, id).await?;
                Report::of(&resolve_campaign(&desk, id, resolution).await?)
            }
            _ => Err(given.refuse("either the argument `delivery` or the argument `campaign` is expected")),
        }
    }
}

async fn resolve(desk: &Desk, account_id: Uuid, id: Uuid, resolution: Resolution) -> ApiResult<()> {
    desk.write(async |system| {
        let scope = system.account(account_id);
        let known = scope.get::<deliveries::Entity>(id).await?;
        deliveries::resolve(&scope, &known, resolution, Timestamp::now()).await.map(|_| ())
    })
    .await
}

/// One transaction for each, so that sending goes on meanwhile.
async fn resolve_campaign(desk: &Desk, campaign_id: Uuid, resolution: Resolution) -> ApiResult<Resolved> {
    let mut done = Resolved { resolved: 0, left: 0 };
    let mut after = None;
    loop {
        let wanted =
            uncertain::Wanted { account_id: None, campaign_id: Some(campaign_id), after, limit: PAGE };
        let page = uncertain::list(&desk.reads, &wanted).await?;
        for row in &page {
            after = Some(row.id);
            match resolve(desk, row.account_id, row.id, resolution).await {
                Ok(()) => done.resolved += 1,
                Err(error) if matches!(error.code, Code::Unprocessable | Code::NotFound) => done.left += 1,
                Err(error) => return Err(error),
            }
            points::reach("task_after_batch");
        }
        if page.is_empty() {
            return Ok(done);
        }
    }
}
