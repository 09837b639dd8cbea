//! Reads a kept table a slice at a time, outside any transaction. What it holds is bounded: a piece of the text, a
//! record, the contacts of a slice and the text that the database is given of them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use uuid::Uuid;

use super::{
    columns::{Columns, Refused, refused},
    records::{Cut, Cutter},
};
use crate::{
    errors::{ApiError, ApiResult},
    models::{
        contact_imports::LeftOut,
        contact_rows::{NewContact, Ready},
        import_progress::Slice,
        import_uploads::{self, CHUNK_BYTES, number_at},
    },
    tenancy::Scope,
};

/// Rows of the first slice. A slice's transaction is the only writer of SQLite, and must be short.
const FIRST_ROWS: u64 = 4_000;
/// The fewest and the most rows of a later one.
const ROWS: std::ops::RangeInclusive<u64> = 500..=8_000;
/// A slice of so many bytes takes no further row. No row is longer, so that no slice is twice as long.
pub(super) const MOST_BYTES: usize = 4 << 20;
/// After so many rows others have their turn: the slice before this one may wait to be stored.
const ROWS_AT_A_TIME: u64 = 250;
/// How long the transaction of a slice is to take: well under the half second that nobody may hold SQLite's writer.
const AIM: Duration = Duration::from_millis(200);

/// Reads one upload; keeps where it is, and the piece that this is in.
#[derive(Debug)]
pub struct Reader {
    upload_id: Uuid,
    columns: Columns,
    bytes: i64,
    piece: Option<(i64, Vec<u8>)>,
    /// Where the next slice begins; none behind the last.
    position: Option<i64>,
    /// The number of its first row.
    index: u64,
}

/// How many rows a slice has: what storing the last ones took says so, also to the one that is being read.
#[derive(Debug)]
pub struct Pace(AtomicU64);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicU64::new(FIRST_ROWS))
    }
}

impl Pace {
    /// Makes later slices larger or smaller, after one of so many rows took so long to be stored.
    pub fn learn(&self, rows: u64, took: Duration) {
        if rows > 0 {
            self.0.store(paced(rows, took).clamp(*ROWS.start(), *ROWS.end()), Ordering::Relaxed);
        }
    }

    fn rows(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Reader {
    /// Of an upload as it is stored, of which so many rows were read.
    pub fn new(upload: &import_uploads::Model, index: u64) -> Self {
        Self {
            upload_id: upload.id,
            columns: Columns::from_stored(&upload.columns),
            bytes: upload.bytes,
            piece: None,
            position: Some(upload.position),
            index,
        }
    }

    /// The next rows; none behind the last slice.
    ///
    /// # Errors
    /// What the database refuses; `internal_error` when a piece is missing, which may be because another runner read it.
    pub async fn next(&mut self, scope: &Scope, pace: &Pace) -> ApiResult<Option<Slice>> {
        let Some(position) = self.position else { return Ok(None) };
        let slice = self.slice(scope, pace, position).await?;
        self.position = (!slice.last).then_some(slice.to);
        self.index += slice.rows;
        Ok(Some(slice))
    }

    async fn slice(&mut self, scope: &Scope, pace: &Pace, position: i64) -> ApiResult<Slice> {
        let (mut cutter, mut valid) = (Cutter::new(), Vec::new());
        let mut slice = Slice { from: position, to: position, ..Slice::default() };
        let mut at = position;
        while !slice.last && !is_full(&slice, pace) {
            self.load(scope, at).await?;
            let (taken, cut) = cutter.take(self.rest(at));
            at += i64::try_from(taken).unwrap_or_default();
            let row = match cut {
                Cut::Hungry => None,
                Cut::End => {
                    slice.last = true;
                    None
                }
                Cut::Whole => Some(self.columns.contact(cutter.fields())),
                Cut::TooLarge => Some(Err(refused(None, "is too large"))),
            };
            if let Some(row) = row {
                take(&mut slice, &mut valid, row, self.index);
                slice.to = at;
            }
            if slice.rows.is_multiple_of(ROWS_AT_A_TIME) {
                tokio::task::yield_now().await;
            }
        }
        let ready = tokio::task::spawn_blocking(|| Ready::new(valid)).await;
        slice.valid = ready.map_err(ApiError::internal)??;
        Ok(slice)
    }

    /// Has the piece of a byte at hand. Behind the last byte of the text there is none.
    async fn load(&mut self, scope: &Scope, at: i64) -> ApiResult<()> {
        let number = number_at(at);
        let at_hand = self.piece.as_ref().is_some_and(|(held, _)| *held == number);
        if at_hand || at >= self.bytes {
            return Ok(());
        }
        let body = import_uploads::piece(scope, self.upload_id, number).await?;
        let body = body.ok_or_else(|| ApiError::internal("a piece of an upload is missing"))?;
        self.piece = Some((number, body));
        Ok(())
    }

    /// What follows of the piece at hand.
    fn rest(&self, at: i64) -> &[u8] {
        if at >= self.bytes {
            return &[];
        }
        let within = usize::try_from(at).unwrap_or_default() % CHUNK_BYTES;
        self.piece.as_ref().and_then(|(_, body)| body.get(within..)).unwrap_or_default()
    }
}

fn is_full(slice: &Slice, pace: &Pace) -> bool {
    let bytes = usize::try_from(slice.to - slice.from).unwrap_or(usize::MAX);
    slice.rows >= pace.rows() || bytes >= MOST_BYTES
}

/// Adds a row.
fn take(slice: &mut Slice, valid: &mut Vec<NewContact>, row: Result<NewContact, Refused>, first: u64) {
    match row {
        Ok(contact) => valid.push(contact),
        Err((email, failures)) => {
            slice.left_out.push(LeftOut::new(first + slice.rows, email.as_deref(), failures));
        }
    }
    slice.rows += 1;
}

/// As many rows as take [`AIM`], at most twice as many as before.
fn paced(rows: u64, took: Duration) -> u64 {
    let fit = u128::from(rows).saturating_mul(AIM.as_micros()) / took.as_micros().max(1);
    u64::try_from(fit).unwrap_or(u64::MAX).min(rows.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_grows_and_shrinks_to_what_fits_its_time_and_at_most_doubles() {
        let millis = Duration::from_millis;
        assert_eq!(paced(4_000, millis(200)), 4_000);
        assert_eq!(paced(4_000, millis(160)), 5_000);
        assert_eq!(paced(4_000, millis(800)), 1_000);
        assert_eq!(paced(4_000, millis(1)), 8_000);
        assert_eq!(paced(4_000, Duration::ZERO), 8_000);
        assert_eq!(paced(u64::MAX, millis(100)), u64::MAX);
    }
}
