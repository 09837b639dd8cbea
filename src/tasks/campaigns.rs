//! Campaigns, whoever's they are: listed, looked at, held, and let go on.

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext};
use serde::Serialize;
use uuid::Uuid;

use super::{
    accounts::ANY_ACCOUNT,
    arguments::{Argument, Arguments, Manual, needed, optional},
    operation::{Desk, Operation},
    report::Report,
};
use crate::{
    clock::Timestamp,
    errors::{ApiResult, Code},
    models::{
        campaigns::{self, Entity, Model, overview, wanted},
        states::CampaignStatus,
    },
    points,
    tenancy::Scope,
    views::campaigns::{Campaign, CampaignState},
};

const CAMPAIGN: Argument = needed("campaign", "a campaign's id");

/// Rows of one look when all are paused.
const PAGE: u32 = 200;

/// Lists campaigns.
pub(super) struct List;

#[async_trait]
impl Operation for List {
    const MANUAL: Manual = Manual {
        name: "campaign_list",
        detail: "List campaigns of all accounts, oldest first",
        arguments: &[
            optional("status", "`pending`, `active`, `paused` or `completed`; all if left out"),
            ANY_ACCOUNT,
            optional("after", "the id of the last campaign seen, to go on behind it"),
            optional("limit", "how many, from 1 to 10000; 100 if left out"),
        ],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let (status, after) = (given.parsed("status", CampaignStatus::parse)?, given.optional_id("after")?);
        let limit = given.limit("limit", 100, 10_000)?;
        let desk = Desk::open(ctx).await?;
        let account_id = desk.optional_account(given).await?;
        let wanted = wanted::Wanted { status, account_id, after, limit };
        Report::of(&wanted::list(&desk.reads, &wanted).await?)
    }
}

/// Shows a campaign.
pub(super) struct Show;

/// A campaign as its owner sees it, and whose it is.
#[derive(Serialize)]
struct Shown {
    account_id: Uuid,
    #[serde(flatten)]
    campaign: Campaign,
}

#[async_trait]
impl Operation for Show {
    const MANUAL: Manual = Manual {
        name: "campaign_show",
        detail: "Show a campaign: its status, counters, batches, credentials and last bounces",
        arguments: &[CAMPAIGN],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let id = given.id("campaign")?;
        let desk = Desk::open(ctx).await?;
        let account_id = campaigns::owner(&desk.reads, id).await?;
        let scope = desk.reads.account(account_id);
        let row = scope.get::<Entity>(id).await?;
        let campaign = overview::read(&scope, row, Timestamp::now()).await?.into();
        Report::of(&Shown { account_id, campaign })
    }
}

/// Holds a campaign, or all of them.
pub(super) struct Pause;

#[async_trait]
impl Operation for Pause {
    const MANUAL: Manual = Manual {
        name: "campaign_pause",
        detail: "Pause an active campaign, or all of them: nothing new of it is sent afterwards",
        arguments: &[
            optional("campaign", "an active campaign's id; this or `all:yes` is needed"),
            optional("all", "`yes`: every active campaign of every account, and a list of those"),
        ],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let named = (given.optional_id("campaign")?, given.one_of("all", &[("yes", ())])?);
        match named {
            (Some(id), None) => change(&Desk::open(ctx).await?, id, campaigns::pause).await,
            (None, Some(())) => pause_all(&Desk::open(ctx).await?).await,
            _ => Err(given.refuse("either the argument `campaign` or `all:yes` is expected")),
        }
    }
}

/// Lets a campaign go on.
pub(super) struct Resume;

#[async_trait]
impl Operation for Resume {
    const MANUAL: Manual = Manual {
        name: "campaign_resume",
        detail: "Let a paused campaign go on where it was held; it is completed if nothing is left to send",
        arguments: &[needed("campaign", "a paused campaign's id")],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let id = given.id("campaign")?;
        change(&Desk::open(ctx).await?, id, campaigns::resume).await
    }
}

/// Changes one campaign by the rules that hold for its owner.
async fn change(
    desk: &Desk,
    id: Uuid,
    rule: impl AsyncFnOnce(&Scope, Uuid, Timestamp) -> ApiResult<Model>,
) -> Result<Report> {
    let account_id = campaigns::owner(&desk.reads, id).await?;
    let now = Timestamp::now();
    let changed = desk.write(async |system| rule(&system.account(account_id), id, now).await).await?;
    Report::of(&CampaignState::from(changed))
}

/// Pauses all, and reports those that it did: also when it fails on the way, since only they are to go on later.
async fn pause_all(desk: &Desk) -> Result<Report> {
    let mut paused = Vec::new();
    let ended = pause_each(desk, &mut paused).await;
    let report = Report::of(&paused)?;
    Ok(match ended {
        Ok(()) => report,
        Err(error) => report.failing(error.to_string()),
    })
}

/// One transaction for each, so that nothing else waits for all of them.
async fn pause_each(desk: &Desk, paused: &mut Vec<wanted::Listed>) -> ApiResult<()> {
    let status = Some(CampaignStatus::Active);
    let mut wanted = wanted::Wanted { status, limit: PAGE, ..Default::default() };
    loop {
        let page = wanted::list(&desk.reads, &wanted).await?;
        let Some(last) = page.last() else { return Ok(()) };
        wanted.after = Some(last.id);
        for row in page {
            let now = Timestamp::now();
            let pause = desk
                .write(async |system| campaigns::pause(&system.account(row.account_id), row.id, now).await)
                .await;
            match pause {
                Ok(now) => paused.push(wanted::Listed { status: now.status, ..row }),
                // It ended, or its owner was faster.
                Err(error) if matches!(error.code, Code::CampaignNotActive | Code::CampaignNotFound) => {}
                Err(error) => return Err(error),
            }
            points::reach("task_after_batch");
        }
    }
}
