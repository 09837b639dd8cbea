//! Takes a table in while the client sends it: the header is read as soon as it is there, the text is kept in pieces, the
//! rows are counted. Nothing is stored before the first piece is full or the text is over.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use uuid::Uuid;

use super::{
    columns::Columns,
    records::{Cut, Cutter},
    slice::MOST_BYTES as ROW_BYTES,
};
use crate::{
    clock::Timestamp,
    db::Db,
    errors::{ApiError, ApiResult, Code, Failures, Reason},
    models::import_uploads::{self, CHUNK_BYTES},
    tenancy::SystemScope,
};

/// The most bytes of a table.
pub const MOST_BYTES: usize = 512 << 20;
/// The most rows of a table.
const MOST_ROWS: u64 = 1_000_000;
/// The greatest length of an import's name.
const NAME_CHARS: usize = 255;
/// What some programs put before a text to say that it is UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A text on its way in.
struct Upload<'a> {
    db: &'a Db,
    account_id: Uuid,
    name: &'a str,
    id: Option<Uuid>,
    columns: Option<Columns>,
    /// Where the records begin.
    begin: i64,
    cutter: Cutter,
    rows: u64,
    /// How much came since a row ended.
    within: usize,
    /// What is not kept yet, and how much of it was cut.
    held: Vec<u8>,
    cut: usize,
    kept: i64,
    bytes: i64,
}

/// A table that was kept whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The id of its upload.
    pub id: Uuid,
    /// How long its text is.
    pub bytes: i64,
}

/// Why a table was not taken.
#[derive(Debug)]
pub struct Refused {
    /// What is answered.
    pub error: ApiError,
    /// What of the text it was decided by: all up to the end of the header, or the last piece of a row without an end; empty
    /// where the text did not decide.
    pub head: Vec<u8>,
}

/// Reads a table to its end; answers what was kept, which is all of it.
///
/// # Errors
/// `validation_failed` for the import's name, for the header and where no row ends for 4 MiB, `no_contacts_provided` without
/// a row, `payload_too_large` past a million rows, and those of `body`. Nothing is kept then.
pub async fn receive(
    db: &Db,
    account_id: Uuid,
    name: &str,
    body: impl Stream<Item = ApiResult<Bytes>> + Send,
) -> Result<Received, Refused> {
    let mut upload = Upload {
        db,
        account_id,
        name,
        id: None,
        columns: None,
        begin: 0,
        cutter: Cutter::new(),
        rows: 0,
        within: 0,
        held: Vec::with_capacity(CHUNK_BYTES),
        cut: 0,
        kept: 0,
        bytes: 0,
    };
    match upload.read(body).await {
        Ok(id) => Ok(Received { id, bytes: upload.bytes }),
        Err(error) => {
            if let Some(id) = upload.id {
                abandon(db, account_id, id).await;
            }
            upload.held.truncate(upload.cut);
            Err(Refused { error, head: upload.held })
        }
    }
}

impl Upload<'_> {
    async fn read(&mut self, body: impl Stream<Item = ApiResult<Bytes>> + Send) -> ApiResult<Uuid> {
        let mut body = pin!(body);
        while let Some(piece) = body.next().await {
            let piece = piece?;
            let mut rest: &[u8] = &piece;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES - self.held.len()));
                self.held.extend_from_slice(now);
                rest = later;
                self.count(false)?;
                if self.held.len() == CHUNK_BYTES {
                    self.keep().await?;
                }
            }
        }
        self.count(true)?;
        if self.rows == 0 {
            return Err(ApiError::new(Code::NoContactsProvided));
        }
        self.keep().await
    }

    /// Looks at what has come: reads the header, counts rows.
    fn count(&mut self, over: bool) -> ApiResult<()> {
        if self.columns.is_none() && self.cut == 0 {
            if self.held.len() < MARK.len() && !over {
                return Ok(());
            }
            self.cut = if self.held.starts_with(MARK) { MARK.len() } else { 0 };
            self.begin = i64::try_from(self.cut).unwrap_or_default();
        }
        loop {
            let rest = self.held.get(self.cut..).unwrap_or_default();
            if rest.is_empty() && !over {
                return self.header_is_near();
            }
            // No further than a row may go: where it is refused must not depend on how the text came.
            let rest = rest.get(..ROW_BYTES - self.within).unwrap_or(rest);
            let (taken, cut) = self.cutter.take(rest);
            self.cut += taken;
            self.within = if matches!(cut, Cut::Whole | Cut::TooLarge) { 0 } else { self.within + taken };
            match cut {
                Cut::Hungry if self.within == ROW_BYTES => return self.refuse_endless_row(),
                Cut::Hungry => {}
                Cut::Whole | Cut::TooLarge if self.columns.is_none() => self.read_header(cut)?,
                Cut::Whole | Cut::TooLarge => self.rows += 1,
                Cut::End if self.columns.is_none() => return self.read_header(cut),
                Cut::End => return Ok(()),
            }
            if self.rows > MOST_ROWS {
                let message = format!("An import has at most {MOST_ROWS} rows");
                return Err(ApiError::new(Code::PayloadTooLarge).message(message));
            }
        }
    }

    /// Read on, an open quote would make one row of all that follows it, and a slice of the reader as long as the text.
    fn refuse_endless_row(&self) -> ApiResult<()> {
        let reason = format!(
            "goes on for {} MiB without the end of a row: is a quote not closed in row {} (counted from 0, without the header)?",
            ROW_BYTES >> 20,
            self.rows
        );
        self.refuse(|failures| failures.add("table", Reason::Other(reason.into())))
    }

    /// Whoever sends half a mebibyte without an end of line sends no table.
    fn header_is_near(&self) -> ApiResult<()> {
        let too_long = self.columns.is_none() && self.held.len() == CHUNK_BYTES;
        if too_long {
            self.refuse(|failures| failures.add("header", Reason::Other("is too long".into())))
        } else {
            Ok(())
        }
    }

    /// A failure of the header, together with those of the name.
    fn refuse(&self, add: impl FnOnce(&mut Failures)) -> ApiResult<()> {
        let mut failures = Failures::new();
        failures.text("name", self.name, NAME_CHARS);
        add(&mut failures);
        failures.into_result()
    }

    fn read_header(&mut self, cut: Cut) -> ApiResult<()> {
        let mut columns = None;
        self.refuse(|failures| match cut {
            Cut::Whole => columns = Columns::read(self.cutter.fields(), failures),
            // Without a header the address is what is missing first.
            Cut::End => columns = Columns::read(std::iter::empty(), failures),
            Cut::TooLarge | Cut::Hungry => failures.add("header", Reason::Other("is too long".into())),
        })?;
        self.columns = columns;
        self.begin = i64::try_from(self.cut).unwrap_or(i64::MAX);
        Ok(())
    }

    /// Keeps what has come, in a transaction of its own.
    async fn keep(&mut self) -> ApiResult<Uuid> {
        let Some(columns) = &self.columns else { return Err(ApiError::internal("a table without a header")) };
        let length = i64::try_from(self.held.len()).unwrap_or_default();
        let body = std::mem::replace(&mut self.held, Vec::with_capacity(CHUNK_BYTES));
        let (columns, begin, known, number) = (columns.to_value(), self.begin, self.id, self.kept);
        let account_id = self.account_id;
        let id = SystemScope::in_transaction(self.db, async |system| {
            let scope = system.account(account_id);
            let id = match known {
                Some(id) => id,
                None => import_uploads::begin(&scope, columns, begin, Timestamp::now()).await?,
            };
            if !body.is_empty() {
                import_uploads::keep(&scope, id, number, body).await?;
            }
            ApiResult::Ok(id)
        })
        .await?;
        (self.id, self.kept, self.cut) = (Some(id), self.kept + 1, 0);
        self.bytes += length;
        Ok(id)
    }
}

/// Leaves what was kept to the sweeper: half a gibibyte is not removed in one transaction.
pub async fn abandon(db: &Db, account_id: Uuid, id: Uuid) {
    let marked = SystemScope::in_transaction(db, async |system| {
        import_uploads::abandon(&system.account(account_id), id).await
    })
    .await;
    if let Err(error) = marked {
        tracing::warn!(upload = %id, %error, "a refused upload is removed only when it is old");
    }
}
