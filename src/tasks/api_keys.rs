//! API keys of an account, given out and taken away by the operator.

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext};

use super::{
    accounts::ACCOUNT,
    arguments::{Arguments, Manual, needed, optional},
    operation::{Desk, Operation},
    report::Report,
};
use crate::{
    models::{api_keys, states::ClientKind},
    views::{Gone, api_keys::IssuedApiKey},
};

/// Gives out a key.
pub(super) struct Issue;

#[async_trait]
impl Operation for Issue {
    const MANUAL: Manual = Manual {
        name: "api_key_issue",
        detail: "Make another API key for an account, which is shown once",
        arguments: &[
            ACCOUNT,
            needed("label", "what the key is for, at most 255 characters"),
            optional("kind", "`direct`, `mcp` or `sdk`; direct if left out"),
        ],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let label = given.parse("label", |text| (text.chars().count() <= 255).then(|| text.to_owned()))?;
        let kind = given.parsed("kind", ClientKind::parse)?.unwrap_or(ClientKind::Direct);
        let desk = Desk::open(ctx).await?;
        let account = desk.account(given).await?;
        let issued = desk
            .write(async |system| api_keys::issue(&system.account(account.id), &label, kind).await)
            .await?;
        Report::of(&IssuedApiKey::new(issued.0, &issued.1))
    }
}

/// Takes a key away.
pub(super) struct Revoke;

#[async_trait]
impl Operation for Revoke {
    const MANUAL: Manual = Manual {
        name: "api_key_revoke",
        detail: "Revoke an API key at once; the last active one of an account stays",
        arguments: &[ACCOUNT, needed("key", "the key's id")],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let key = given.id("key")?;
        let desk = Desk::open(ctx).await?;
        let account = desk.account(given).await?;
        desk.write(async |system| api_keys::revoke(&system.account(account.id), key).await).await?;
        Report::of(&Gone::revoked(key))
    }
}
