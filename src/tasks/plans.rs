//! Plans, and what Stripe says of who pays for them.

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext};
use migration::{Migrator, MigratorTrait};
use serde::Serialize;
use uuid::Uuid;

use super::{
    accounts::ACCOUNT,
    arguments::{Argument, Arguments, Manual, needed, optional},
    operation::{Desk, Operation, look},
    report::Report,
};
use crate::{
    billing::{self, Reconciled},
    clock::Timestamp,
    models::plans::{self, Plan, archive, private},
};

/// A plan as an operator sees it.
#[derive(Serialize)]
struct Shown {
    slug: String,
    name: String,
    tier: i32,
    monthly_limit: i64,
    public: bool,
    archived: bool,
    stripe_price_id: Option<String>,
}

impl From<Plan> for Shown {
    fn from(plan: Plan) -> Self {
        let Plan { id: _, slug, name, tier, monthly_limit, public, stripe_price_id, archived } = plan;
        Self { slug, name, tier, monthly_limit, public, archived, stripe_price_id }
    }
}

/// Lists plans.
pub(super) struct List;

#[async_trait]
impl Operation for List {
    const MANUAL: Manual = Manual {
        name: "plan_list",
        detail: "List all plans by tier, private and archived ones too",
        arguments: &[],
    };

    async fn perform(ctx: &AppContext, _given: &Arguments<'_>) -> Result<Report> {
        let desk = Desk::open(ctx).await?;
        let plans: Vec<Shown> = plans::list(&desk.reads).await?.into_iter().map(Shown::from).collect();
        Report::of(&plans)
    }
}

/// Makes a private plan.
pub(super) struct Create;

/// Beyond any mail server, and far from where sums of limits overflow.
const MOST_SENDS: i64 = 1_000_000_000_000;

#[async_trait]
impl Operation for Create {
    const MANUAL: Manual = Manual {
        name: "plan_create",
        detail: "Make a private plan, which only `plan_assign` gives to an account",
        arguments: &[
            needed("slug", "a word of small letters, digits and `_`, at most 50 characters"),
            needed("name", "what people call it, at most 255 characters"),
            needed("limit", "the most sends of a period, a whole number of at most 1000000000000"),
            optional("tier", "its place among the others, a whole number; 0 if left out"),
        ],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let new = private::NewPlan {
            slug: given.parse("slug", private::slug)?,
            name: given.parse("name", |text| (text.chars().count() <= 255).then(|| text.to_owned()))?,
            monthly_limit: given
                .parse("limit", |text| text.parse().ok().filter(|limit| (0..=MOST_SENDS).contains(limit)))?,
            tier: given.parsed("tier", |text| text.parse().ok())?.unwrap_or_default(),
        };
        let desk = Desk::open(ctx).await?;
        let now = Timestamp::now();
        let plan = desk.write(async |system| private::create(system, &new, now).await).await?;
        Report::of(&Shown::from(plan))
    }
}

/// Puts an account on a plan.
pub(super) struct Assign;

#[derive(Serialize)]
struct Assigned {
    account_id: Uuid,
    plan_slug: String,
    changed: bool,
}

#[async_trait]
impl Operation for Assign {
    const MANUAL: Manual = Manual {
        name: "plan_assign",
        detail: "Put an account on a plan; one whose plan follows a subscription stays on it",
        arguments: &[ACCOUNT, PLAN],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let desk = Desk::open(ctx).await?;
        let (account, slug) = (desk.account(given).await?, given.needed("plan"));
        let now = Timestamp::now();
        let changed = desk.write(async |system| plans::assign(system, account.id, slug, now).await).await?;
        Report::of(&Assigned { account_id: account.id, plan_slug: slug.to_owned(), changed })
    }
}

/// Takes a plan off the market.
pub(super) struct Archive;

/// Brings it back.
pub(super) struct Restore;

#[derive(Serialize)]
struct Archived {
    slug: String,
    archived: bool,
    changed: bool,
}

const PLAN: Argument = needed("plan", "a plan's slug, as `plan_list` shows it");

#[async_trait]
impl Operation for Archive {
    const MANUAL: Manual = Manual {
        name: "plan_archive",
        detail: "Take a plan off the market: it is neither listed, sold nor assigned; who has it keeps it",
        arguments: &[PLAN],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        set_archived(ctx, given, true).await
    }
}

#[async_trait]
impl Operation for Restore {
    const MANUAL: Manual =
        Manual { name: "plan_restore", detail: "Bring an archived plan back", arguments: &[PLAN] };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        set_archived(ctx, given, false).await
    }
}

async fn set_archived(ctx: &AppContext, given: &Arguments<'_>, archived: bool) -> Result<Report> {
    let desk = Desk::open(ctx).await?;
    let (slug, now) = (given.needed("plan"), Timestamp::now());
    let changed = desk.write(async |system| archive::set_archived(system, slug, archived, now).await).await?;
    Report::of(&Archived { slug: slug.to_owned(), archived, changed })
}

/// Gives plans the prices of the configuration.
pub(super) struct Sync;

#[derive(Serialize)]
struct Synced {
    slug: String,
    stripe_price_id: Option<String>,
    changed: bool,
}

#[async_trait]
impl Operation for Sync {
    const MANUAL: Manual = Manual {
        name: "plan_sync",
        detail: "Give the public plans the Stripe prices of the configuration, as each start does",
        arguments: &[],
    };

    async fn perform(ctx: &AppContext, _given: &Arguments<'_>) -> Result<Report> {
        Migrator::up(&ctx.db, None).await?;
        let before = plans::list(&look(ctx)).await?;
        let desk = Desk::open(ctx).await?;
        let prices = &desk.state.settings.plan_prices;
        desk.write(async |system| Ok(plans::sync_prices(system, prices).await?)).await?;
        let synced = plans::list(&desk.reads).await?.into_iter().map(|plan| {
            let known = before.iter().find(|it| it.slug == plan.slug);
            let changed = known.is_none_or(|it| it.stripe_price_id != plan.stripe_price_id);
            Synced { slug: plan.slug, stripe_price_id: plan.stripe_price_id, changed }
        });
        Report::of(&synced.collect::<Vec<_>>())
    }
}

/// Compares with Stripe.
pub(super) struct Reconcile;

#[derive(Serialize)]
struct Compared {
    subscriptions: usize,
    changed: usize,
    customers: usize,
    failed: usize,
}

#[async_trait]
impl Operation for Reconcile {
    const MANUAL: Manual = Manual {
        name: "stripe_reconcile",
        detail: "Compare every subscription at Stripe with what is stored, and make customers that are missing",
        arguments: &[],
    };

    async fn perform(ctx: &AppContext, _given: &Arguments<'_>) -> Result<Report> {
        let desk = Desk::open(ctx).await?;
        let Reconciled { subscriptions, changed, customers, failed } =
            billing::reconcile(&desk.state).await?;
        let report = Report::of(&Compared { subscriptions, changed, customers, failed })?;
        Ok(if failed == 0 {
            report
        } else {
            report.failing(format!("stripe_reconcile: {failed} could not be compared; the log says why"))
        })
    }
}
