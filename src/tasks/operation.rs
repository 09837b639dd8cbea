//! How an operator's task runs: its arguments are checked, it does its work through the doors of the models, and its
//! answer is shown. A task says what it takes and does; that part is the same for all.

use std::marker::PhantomData;

use async_trait::async_trait;
use loco_rs::{
    Result,
    app::AppContext,
    task::{Task, TaskInfo, Vars},
};
use uuid::Uuid;

use super::{
    arguments::{Arguments, Manual},
    report::{Report, print},
};
use crate::{
    errors::ApiResult,
    models::accounts::lookup::{self, Known},
    state::AppState,
    tenancy::{Conn, SystemScope},
};

/// What one task takes and does.
#[async_trait]
pub(super) trait Operation: Send + Sync + 'static {
    /// Its name, what it does, what it takes.
    const MANUAL: Manual;

    /// Does it.
    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report>;
}

/// An operation as Loco's task.
pub(super) struct OperatorTask<T>(PhantomData<fn() -> T>);

impl<T> OperatorTask<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

#[async_trait]
impl<T: Operation> Task for OperatorTask<T> {
    fn task(&self) -> TaskInfo {
        TaskInfo { name: T::MANUAL.name.to_owned(), detail: T::MANUAL.detail.to_owned() }
    }

    async fn run(&self, ctx: &AppContext, vars: &Vars) -> Result<()> {
        if Arguments::ask_for_help(vars) {
            return print(&T::MANUAL.text());
        }
        let given = Arguments::check(T::MANUAL, vars)?;
        T::perform(ctx, &given).await?.show(given.format)
    }
}

/// A look at all accounts on a database as it is.
pub(super) fn look(ctx: &AppContext) -> SystemScope {
    SystemScope::new(Conn::Pool(ctx.db.clone()))
}

/// What a task works with: the state of the application, and a look at all accounts.
pub(super) struct Desk {
    /// Keys, doors and settings.
    pub state: AppState,
    /// For reading, outside a transaction.
    pub reads: SystemScope,
}

impl Desk {
    /// On a database that is brought up to date first.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub(super) async fn open(ctx: &AppContext) -> Result<Self> {
        let state = AppState::prepare_for_task(ctx).await?;
        Ok(Self { state, reads: look(ctx) })
    }

    /// Does `work` in a transaction of its own.
    ///
    /// # Errors
    /// Those of `work`, and what the database refuses.
    pub(super) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&SystemScope) -> ApiResult<T>,
    ) -> ApiResult<T> {
        SystemScope::in_transaction(&self.state.db, work).await
    }

    /// The account that the argument `account` names by its id or its address, erased ones left out.
    ///
    /// # Errors
    /// `not_found`.
    pub(super) async fn account(&self, given: &Arguments<'_>) -> Result<Known> {
        Ok(lookup::active(&self.reads, given.needed("account")).await?)
    }

    /// The same where it may be left out.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn optional_account(&self, given: &Arguments<'_>) -> Result<Option<Uuid>> {
        let Some(named) = given.text("account") else { return Ok(None) };
        Ok(Some(lookup::active(&self.reads, named).await?.id))
    }
}
