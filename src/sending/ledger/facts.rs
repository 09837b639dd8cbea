//! What the database says of a delivery at the moment of a decision, read under locks.

use std::collections::{HashMap, HashSet};

use sea_orm::{DbBackend, DbErr, QueryResult, TryGetable};
use uuid::Uuid;

use super::{Owner, Ticket, decide::Ask};
use crate::{
    clock::Timestamp,
    db::Sql,
    models::{
        deliveries::evidence::Heard,
        states::{CampaignStatus, DeliveryState, EnrollmentStatus, Progress},
        suppressions::AddressHash,
    },
    tenancy::SystemScope,
};

/// Everything that decides what may become of one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub delivery_id: Uuid,
    pub account_id: Uuid,
    pub campaign_id: Uuid,
    pub enrollment_id: Uuid,
    pub credential_id: Uuid,
    pub batch_id: Uuid,
    pub position: i32,
    pub state: DeliveryState,
    pub token: Option<Uuid>,
    pub process_id: Option<Uuid>,
    pub attempts: i32,
    /// What came back for it while it was being sent.
    pub heard: Option<Heard>,
    pub reserved_period: Option<Timestamp>,
    pub reserved_day: Option<i64>,
    pub status: EnrollmentStatus,
    pub progress: Progress,
    pub current_step: i32,
    pub sent_before: bool,
    pub bounced_before: bool,
    pub unsubscribed_before: bool,
    /// Delay of the next step in minutes; `None` after the last.
    pub next_delay: Option<i32>,
    pub campaign_status: CampaignStatus,
    /// The campaign's shortest pause between two messages of a credential, in seconds.
    pub min_wait_seconds: i32,
    /// The campaign, the contact or its import is deleted, or the contact unsubscribed.
    pub gone: bool,
    /// The contact itself is deleted: its enrollment is no longer counted as pending.
    pub contact_deleted: bool,
    /// The credential is disabled or deleted.
    pub lane_closed: bool,
    /// The credential has a mailbox that was not read lately.
    pub mailbox_unread: bool,
    /// A webhook of the account is enabled.
    pub listened: bool,
    /// The address that a mark is asked for is suppressed; looked at for marks alone.
    pub suppressed: bool,
}

/// Whose deliveries are voided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Of processes that were declared dead, in this account.
    Dead(Uuid),
    /// Of this process, whose sender starts anew.
    Process(Uuid),
    /// Of this process, for one lane that broke down.
    Lane(Uuid, Uuid),
}

impl Holder {
    /// Which `enrollments e` are claimed so. `ix_enrollments_held`: what is asked of the account serves no other index.
    fn narrow(self, sql: &mut Sql) {
        sql.push("e.progress = 'claimed' AND e.process_id ");
        match self {
            Self::Dead(account) => {
                sql.push(
                    "IN (SELECT id FROM engine_processes WHERE dead_at IS NOT NULL) AND (e.account_id = ",
                );
                sql.value(account.into());
                sql.push(") IS TRUE");
            }
            Self::Process(process) => {
                sql.push("= ");
                sql.value(process.into());
            }
            Self::Lane(process, lane) => {
                sql.push("= ");
                sql.value(process.into());
                sql.push(" AND e.smtp_credential_id = ");
                sql.value(lane.into());
            }
        }
    }
}

/// Which `deliveries d` are held, where their enrollments are. Nothing is asked of their account itself: PostgreSQL takes one
/// that it has no statistics of for small, and would look through all that it has.
const HELD: &str = " AND d.state IN ('claimed', 'sending')";

/// Accounts of which the dead hold something. `ix_enrollments_held`
///
/// # Errors
/// What the database refuses.
pub async fn bereaved(system: &SystemScope) -> Result<Vec<Uuid>, DbErr> {
    let sql = "SELECT DISTINCT account_id FROM enrollments WHERE progress = 'claimed' \
               AND process_id IN (SELECT id FROM engine_processes WHERE dead_at IS NOT NULL)";
    system.query(sql, []).await?.iter().map(|row| row.try_get("", "account_id")).collect()
}

/// Up to 500 that are held so, found without a lock, and whose they are.
pub(super) async fn held(system: &SystemScope, holder: Holder) -> Result<Vec<(Uuid, Owner)>, DbErr> {
    let sql = held_by(system.backend(), holder);
    let found = |row: &QueryResult| {
        let owner = Owner {
            account_id: row.try_get("", "account_id")?,
            campaign_id: row.try_get("", "campaign_id")?,
        };
        Ok((row.try_get("", "id")?, owner))
    };
    system.query(&sql.text, sql.values).await?.iter().map(found).collect()
}

/// The query of [`held`]. `ix_enrollments_held`, then `uq_deliveries_step`: materialized and in that order, or SQLite would look
/// through all deliveries of the account.
pub(super) fn held_by(backend: DbBackend, holder: Holder) -> Sql {
    let mut sql = Sql::new(
        backend,
        "WITH claimed AS MATERIALIZED (SELECT e.id, e.account_id, e.campaign_id FROM enrollments e WHERE ",
    );
    holder.narrow(&mut sql);
    sql.push(
        ") SELECT d.id, c.account_id, c.campaign_id FROM claimed c CROSS JOIN deliveries d WHERE d.account_id = c.account_id \
         AND d.enrollment_id = c.id",
    );
    sql.push(HELD);
    sql.push(" LIMIT 500");
    sql
}

/// What is read of each, in the order of [`Facts::of`].
const FACTS: &str = "SELECT d.id, d.account_id, d.campaign_id, d.enrollment_id, d.smtp_credential_id, e.batch_id, d.position, \
     d.state, d.token, d.process_id, d.attempts, d.heard, d.reserved_period, d.reserved_day, e.status, e.progress, \
     e.current_step, e.sent_at IS NOT NULL, e.bounced_at IS NOT NULL, e.unsubscribed_at IS NOT NULL, \
     n.delay_minutes, k.status, k.min_wait_seconds, \
     (k.deleted_at IS NOT NULL OR c.deleted_at IS NOT NULL OR c.unsubscribed_at IS NOT NULL \
      OR i.deleted_at IS NOT NULL), \
     (c.deleted_at IS NOT NULL OR i.deleted_at IS NOT NULL), \
     (s.disabled_at IS NOT NULL OR s.deleted_at IS NOT NULL), \
     s.imap_username IS NOT NULL, m.last_read_at, \
     EXISTS (SELECT 1 FROM webhooks w WHERE w.account_id = d.account_id AND w.disabled_at IS NULL \
      AND w.deleted_at IS NULL)";
/// From where. Joined by primary keys alone: foreign keys hold the accounts equal, and saying so again lets PostgreSQL's
/// planner join all rows of an account with each other as long as it has no statistics.
const AROUND: &str = " \
     JOIN enrollments e ON e.id = d.enrollment_id \
     JOIN campaigns k ON k.id = d.campaign_id \
     JOIN smtp_credentials s ON s.id = d.smtp_credential_id \
     JOIN contacts c ON c.id = e.contact_id \
     JOIN contact_imports i ON i.id = c.contact_import_id \
     LEFT JOIN sequence_steps n ON n.account_id = d.account_id AND n.campaign_id = d.campaign_id \
          AND n.position = d.position + 1 \
     LEFT JOIN mailboxes m ON m.account_id = s.account_id AND m.host = lower(s.imap_host) \
          AND m.port = s.imap_port AND m.username = s.imap_username";

/// Reads these deliveries, or those of them that are still held so, and locks: the delivery and enrollment for a change,
/// whatever may stop it against one. The campaign is locked already (`order`).
///
/// A mailbox that was read at `read_since` or later counts as read. It is not locked: it can only have been read since.
pub(super) async fn read(
    system: &SystemScope,
    ids: &[Uuid],
    holder: Option<Holder>,
    read_since: Timestamp,
) -> Result<Vec<Facts>, DbErr> {
    let mut sql = Sql::new(system.backend(), FACTS);
    sql.push(", false FROM deliveries d");
    sql.push(AROUND);
    sql.push(" WHERE d.id");
    sql.among(ids);
    if let Some(holder) = holder {
        sql.push(" AND ");
        holder.narrow(&mut sql);
        sql.push(HELD);
    }
    sql.push(" ORDER BY d.id");
    if system.backend() == DbBackend::Postgres {
        sql.push(" FOR UPDATE OF d, e FOR SHARE OF s, c, i");
    }
    let rows = system.query(&sql.text, sql.values).await?;
    rows.iter().map(|row| Facts::of(row, read_since)).collect()
}

/// Asks of one statement of SQLite, which takes 32,766 parameters; two for each.
const MOST_ASKED: usize = 8_192;

/// Reads the deliveries of these asks, and whether the addresses are suppressed that marks are asked for.
///
/// PostgreSQL shows a statement what was committed before it began: suppressions are asked for once more when the rows are
/// locked, so that an unsubscription which waits for them comes after the mark, and one that did not is seen. SQLite has
/// one writer, and every round costs the changes of threads: it is asked once.
pub(super) async fn read_asked(
    system: &SystemScope,
    asks: &[(Ticket, &Ask)],
    read_since: Timestamp,
) -> Result<HashMap<Uuid, Facts>, DbErr> {
    if system.backend() == DbBackend::Postgres {
        let ids: Vec<Uuid> = asks.iter().map(|(ticket, _)| ticket.delivery_id).collect();
        let mut known = HashMap::with_capacity(ids.len());
        add(&mut known, read(system, &ids, None, read_since).await?);
        look_for_suppressions(system, asks, &mut known).await?;
        return Ok(known);
    }
    let mut known = HashMap::with_capacity(asks.len());
    for some in asks.chunks(MOST_ASKED) {
        add(&mut known, read_some(system, some, read_since).await?);
    }
    Ok(known)
}

/// On SQLite, of no more than [`MOST_ASKED`].
async fn read_some(
    system: &SystemScope,
    asks: &[(Ticket, &Ask)],
    read_since: Timestamp,
) -> Result<Vec<Facts>, DbErr> {
    let rows = asks.iter().map(|(ticket, ask)| {
        let address = ask.address().map(|hash| hash.to_vec());
        [Some(ticket.delivery_id).into(), address.into()]
    });
    // Nothing has no id: filled up to a power of two, few texts occur, and the database knows them.
    let nothing = [None::<Uuid>.into(), None::<Vec<u8>>.into()];
    let rows = rows.chain(std::iter::repeat_n(nothing, asks.len().next_power_of_two() - asks.len()));
    let mut sql = Sql::with_rows(system.backend(), "v_id, v_hash", rows, FACTS);
    sql.push(
        ", EXISTS (SELECT 1 FROM suppressions u WHERE u.account_id = d.account_id AND u.email_hash = v_hash) \
         FROM v CROSS JOIN deliveries d ON d.id = v_id",
    );
    sql.push(AROUND);
    let rows = system.query(&sql.text, sql.values).await?;
    rows.iter().map(|row| Facts::of(row, read_since)).collect()
}

/// Adds by delivery. One that was asked for twice is suppressed if one of its asks says so.
fn add(known: &mut HashMap<Uuid, Facts>, rows: Vec<Facts>) {
    for facts in rows {
        let suppressed = facts.suppressed;
        known.entry(facts.delivery_id).or_insert(facts).suppressed |= suppressed;
    }
}

/// Which of these addresses are suppressed in these accounts.
async fn suppressed(
    system: &SystemScope,
    addresses: &[(Uuid, AddressHash)],
) -> Result<HashSet<(Uuid, AddressHash)>, DbErr> {
    let mut found = HashSet::new();
    if addresses.is_empty() {
        return Ok(found);
    }
    let rows = addresses.iter().map(|(account, hash)| [(*account).into(), hash.to_vec().into()]);
    // The primary key serves each.
    let sql = Sql::with_rows(
        system.backend(),
        "v_account, v_hash",
        rows,
        "SELECT account_id, email_hash FROM v CROSS JOIN suppressions \
         WHERE account_id = v_account AND email_hash = v_hash",
    );
    for row in system.query(&sql.text, sql.values).await? {
        let hash: Vec<u8> = row.try_get("", "email_hash")?;
        if let Ok(hash) = hash.try_into() {
            found.insert((row.try_get("", "account_id")?, hash));
        }
    }
    Ok(found)
}

/// The columns of a row in their order: looked up by name, as often as this is done, they would cost more than their reading.
struct Columns<'a> {
    row: &'a QueryResult,
    next: usize,
}

impl Columns<'_> {
    fn take<T: TryGetable>(&mut self) -> Result<T, DbErr> {
        let at = self.next;
        self.next += 1;
        self.row.try_get_by_index(at)
    }
}

impl Facts {
    pub const fn owner(&self) -> Owner {
        Owner { account_id: self.account_id, campaign_id: self.campaign_id }
    }

    /// From a row of [`FACTS`] and whether it is suppressed.
    fn of(row: &QueryResult, read_since: Timestamp) -> Result<Self, DbErr> {
        let mut columns = Columns { row, next: 0 };
        Ok(Self {
            delivery_id: columns.take()?,
            account_id: columns.take()?,
            campaign_id: columns.take()?,
            enrollment_id: columns.take()?,
            credential_id: columns.take()?,
            batch_id: columns.take()?,
            position: columns.take()?,
            state: columns.take()?,
            token: columns.take()?,
            process_id: columns.take()?,
            attempts: columns.take()?,
            heard: columns.take()?,
            reserved_period: columns.take()?,
            reserved_day: columns.take()?,
            status: columns.take()?,
            progress: columns.take()?,
            current_step: columns.take()?,
            sent_before: columns.take()?,
            bounced_before: columns.take()?,
            unsubscribed_before: columns.take()?,
            next_delay: columns.take()?,
            campaign_status: columns.take()?,
            min_wait_seconds: columns.take()?,
            gone: columns.take()?,
            contact_deleted: columns.take()?,
            lane_closed: columns.take()?,
            mailbox_unread: {
                let (has_mailbox, read_at): (bool, Option<Timestamp>) = (columns.take()?, columns.take()?);
                has_mailbox && read_at.unwrap_or_default() < read_since
            },
            listened: columns.take()?,
            suppressed: columns.take()?,
        })
    }
}

/// Notes whose address is suppressed, of those that are to be marked.
async fn look_for_suppressions(
    system: &SystemScope,
    asks: &[(Ticket, &Ask)],
    known: &mut HashMap<Uuid, Facts>,
) -> Result<(), DbErr> {
    let marks = asks.iter().filter_map(|(ticket, ask)| Some((ticket.delivery_id, ask.address()?)));
    let addresses: Vec<(Uuid, (Uuid, AddressHash))> = marks
        .filter_map(|(delivery, address)| Some((delivery, (known.get(&delivery)?.account_id, address))))
        .collect();
    let hashes: Vec<_> = addresses.iter().map(|(_, address)| *address).collect();
    let suppressed = suppressed(system, &hashes).await?;
    for (delivery, address) in addresses {
        if suppressed.contains(&address)
            && let Some(facts) = known.get_mut(&delivery)
        {
            facts.suppressed = true;
        }
    }
    Ok(())
}
