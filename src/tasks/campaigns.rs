//! One campaign, whoever's it is: looked at, and held.

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext};
use serde::Serialize;
use uuid::Uuid;

use super::{
    arguments::{Argument, Arguments, Manual, needed},
    operation::{Desk, Operation},
    report::Report,
};
use crate::{
    clock::Timestamp,
    models::campaigns::{self, Entity, overview},
    views::campaigns::{Campaign, CampaignState},
};

const CAMPAIGN: Argument = needed("campaign", "a campaign's id");

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

/// Holds a campaign.
pub(super) struct Pause;

#[async_trait]
impl Operation for Pause {
    const MANUAL: Manual = Manual {
        name: "campaign_pause",
        detail: "Pause an active campaign: nothing new of it is sent afterwards",
        arguments: &[CAMPAIGN],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let id = given.id("campaign")?;
        let desk = Desk::open(ctx).await?;
        let account_id = campaigns::owner(&desk.reads, id).await?;
        let now = Timestamp::now();
        let paused =
            desk.write(async |system| campaigns::pause(&system.account(account_id), id, now).await).await?;
        Report::of(&CampaignState::from(paused))
    }
}
