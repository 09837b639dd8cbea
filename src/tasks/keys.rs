//! `rotate_keys`: what was sealed under another master key than the first is sealed anew.

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext};
use serde::Serialize;

use super::{
    arguments::{Arguments, Manual},
    operation::{Desk, Operation},
    report::Report,
};
use crate::{
    models::sealed::{SEALED, SealedColumn, reseal_some},
    points,
};

/// Seals anew.
pub(super) struct Rotate;

/// What was done with a column.
#[derive(Serialize)]
struct Column {
    table: &'static str,
    column: &'static str,
    resealed: u64,
    /// Those that changed while they were looked at: whoever changed them sealed them.
    changed_meanwhile: u64,
    unreadable: u64,
}

#[async_trait]
impl Operation for Rotate {
    const MANUAL: Manual = Manual {
        name: "rotate_keys",
        detail: "Seal anew, under the first master key, what older ones sealed; run it again if it was interrupted",
        arguments: &[],
    };

    async fn perform(ctx: &AppContext, _given: &Arguments<'_>) -> Result<Report> {
        let desk = Desk::open(ctx).await?;
        let mut columns = Vec::with_capacity(SEALED.len());
        for column in SEALED {
            columns.push(rotate(&desk, column).await?);
        }
        let unreadable: u64 = columns.iter().map(|it| it.unreadable).sum();
        let report = Report::of(&columns)?;
        Ok(if unreadable == 0 {
            report
        } else {
            report.failing(format!(
                "rotate_keys: {unreadable} values open with none of the keys in MASTER_KEY and stay as they are"
            ))
        })
    }
}

async fn rotate(desk: &Desk, sealed: SealedColumn) -> Result<Column> {
    let SealedColumn { table, column, .. } = sealed;
    let mut done = Column { table, column, resealed: 0, changed_meanwhile: 0, unreadable: 0 };
    let (sealer, mut after) = (&desk.state.sealer, None);
    loop {
        let batch = desk.write(async |system| reseal_some(system, sealer, sealed, after).await).await?;
        done.resealed += batch.resealed;
        done.changed_meanwhile += batch.changed_meanwhile;
        for row in &batch.unreadable {
            tracing::error!(table, column, %row, "a sealed value opens with no key");
        }
        done.unreadable += batch.unreadable.len() as u64;
        points::reach("task_after_batch");
        after = batch.last;
        if after.is_none() {
            return Ok(done);
        }
    }
}
