//! Whole accounts: made, looked at, handed out, erased.

mod erase;
mod export;

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext};
use serde::Serialize;
use uuid::Uuid;

use super::{
    arguments::{Argument, Arguments, Manual, needed, optional},
    operation::{Desk, Operation},
    report::Report,
};
use crate::{
    billing::customers,
    clock::Timestamp,
    errors::Reason,
    models::{
        EmailAddress,
        accounts::{
            self,
            lookup::{self, Known, Standing},
        },
    },
    views::signup::SignedUp,
};

pub(super) use erase::Erase;
pub(super) use export::Export;

/// How every task takes an account.
pub(super) const ACCOUNT: Argument = needed("account", "an account's id or email address");
/// How those that look over all accounts take one.
pub(super) const ANY_ACCOUNT: Argument =
    optional("account", "an account's id or email address; all accounts if left out");

/// Makes an account.
pub(super) struct Create;

#[async_trait]
impl Operation for Create {
    const MANUAL: Manual = Manual {
        name: "account_create",
        detail: "Make an account with its first API key, which is shown once",
        arguments: &[
            needed("email", "the owner's email address"),
            optional("name", "the owner's name, at most 255 characters"),
        ],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let parse = |text: &str| EmailAddress::parse(text).map_err(|_: Reason| ()).ok();
        let email = given.parse("email", parse)?;
        let fits = |text: &str| (text.chars().count() <= 255).then(|| text.to_owned());
        let name = given.parsed("name", fits)?;
        let desk = Desk::open(ctx).await?;
        let made = desk
            .write(async |system| {
                let made = accounts::sign_up(system, &email, name.as_deref()).await?;
                customers::arrange(system, &desk.state, made.account_id).await?;
                Ok(made)
            })
            .await?;
        Report::of(&SignedUp::from(made))
    }
}

/// Shows an account.
pub(super) struct Show;

/// An account as an operator sees it.
#[derive(Serialize)]
struct Shown {
    id: Uuid,
    email: String,
    name: Option<String>,
    plan_slug: String,
    created_at: Timestamp,
    deleted_at: Option<Timestamp>,
    erased_at: Option<Timestamp>,
    #[serde(flatten)]
    standing: Option<Standing>,
}

impl Shown {
    fn new(known: Known, standing: Option<Standing>) -> Self {
        let Known { id, email, name, plan_slug, created_at, deleted_at, erased_at } = known;
        Self { id, email, name, plan_slug, created_at, deleted_at, erased_at, standing }
    }
}

#[async_trait]
impl Operation for Show {
    const MANUAL: Manual = Manual {
        name: "account_show",
        detail: "Show an account: its plan, what it sent, what it has",
        arguments: &[ACCOUNT],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let desk = Desk::open(ctx).await?;
        let known = lookup::find(&desk.reads, given.needed("account")).await?;
        let scope = desk.reads.account(known.id);
        let standing = match known.deleted_at {
            None => Some(lookup::standing(&scope, Timestamp::now()).await?),
            Some(_) => None,
        };
        Report::of(&Shown::new(known, standing))
    }
}
