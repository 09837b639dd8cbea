//! Background jobs: looked at, and given their attempts again.

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext, bgworker::JobStatus};
use serde::Serialize;

use super::{
    arguments::{Arguments, Manual, optional},
    operation::{Desk, Operation},
    report::Report,
};
use crate::jobs;

/// The words for where a job stands.
const STATUSES: [&str; 5] = ["queued", "processing", "completed", "failed", "cancelled"];

/// Lists jobs.
pub(super) struct List;

#[async_trait]
impl Operation for List {
    const MANUAL: Manual = Manual {
        name: "jobs_list",
        detail: "List background jobs, newest first",
        arguments: &[
            optional(
                "status",
                "`queued`, `processing`, `completed`, `failed` or `cancelled`; all if left out",
            ),
            optional("name", "the name of a worker, as the list shows it"),
            optional("limit", "how many, from 1 to 10000; 100 if left out"),
        ],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let known = |text: &str| STATUSES.contains(&text).then(|| text.parse::<JobStatus>().ok()).flatten();
        let status = given.parsed("status", known)?;
        let limit = given.limit("limit", 100, 10_000)?;
        let desk = Desk::open(ctx).await?;
        Report::of(&jobs::find(&desk.reads.db(), status, given.text("name"), limit).await?)
    }
}

/// Gives failed jobs their attempts again.
pub(super) struct Retry;

#[derive(Serialize)]
struct Retried {
    retried: u64,
}

#[async_trait]
impl Operation for Retry {
    const MANUAL: Manual = Manual {
        name: "jobs_retry",
        detail: "Give a failed background job, or all of them, their attempts again",
        arguments: &[
            optional("id", "a failed job's id; this or `all:yes` is needed"),
            optional("all", "`yes`: every failed job but imports, whose tables are gone"),
        ],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let (id, all) = (given.optional_id("id")?, given.one_of("all", &[("yes", ())])?);
        if id.is_some() == all.is_some() {
            return Err(given.refuse("either the argument `id` or `all:yes` is expected"));
        }
        let desk = Desk::open(ctx).await?;
        let retried = desk.write(async |system| Ok(jobs::retry(&system.db(), id).await?)).await?;
        let report = Report::of(&Retried { retried })?;
        let Some(id) = id.filter(|_| retried == 0) else { return Ok(report) };
        let reason = if jobs::is_final(&desk.reads.db(), id).await? {
            "jobs_retry: an import that was given up cannot go on, for its table is removed; it has to be imported again"
        } else {
            "jobs_retry: no failed job has this id"
        };
        Ok(report.failing(reason))
    }
}
