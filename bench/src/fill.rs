//! A past that a benchmark is put into: contacts that were written to and are finished, with their enrollments and
//! deliveries, written by SQL in the order of their ids as they would have been.

use testkit::api::Error;

use crate::database::Database;

/// Rows of a statement: no write transaction of SQLite's is long then.
const AT_ONCE: u64 = 50_000;

/// Whose past it is.
pub struct Past<'a> {
    /// Where it is written.
    pub database: &'a Database,
    /// The account's id.
    pub account: String,
    /// The campaign's.
    pub campaign: String,
    /// The mailbox's that sent it all.
    pub credential: String,
}

impl Past<'_> {
    /// What the rows of the past hang on: an import and a batch that is drained.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn begin(&self) -> Result<(), Error> {
        let (id, account, campaign) =
            (|n: u8| self.id(n), self.literal(&self.account), self.literal(&self.campaign));
        let import = format!(
            "INSERT INTO contact_imports (id, account_id, name, status, record_count, created_at) \
             VALUES ({}, {account}, 'Past', 'completed', 0, 1)",
            id(1)
        );
        let batch = format!(
            "INSERT INTO batches (id, account_id, campaign_id, batch_number, dispatched_at, due_at, drained, created_at) \
             VALUES ({}, {account}, {campaign}, 0, 1, 1, true, 1)",
            id(2)
        );
        self.database.run(&import).await?;
        self.database.run(&batch).await
    }

    /// Writes rows of these numbers into each table, and has the database look at them as its own maintenance would. What
    /// that owes to the disk is written when it returns: a past is long on the disk, and what is measured has it for itself.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn write(&self, from: u64, to: u64) -> Result<(), Error> {
        let mut at = from;
        while at < to {
            let end = to.min(at + AT_ONCE);
            for sql in self.statements(at, end) {
                self.database.run(&sql).await?;
            }
            at = end;
        }
        self.database.run("ANALYZE").await?;
        self.database.settle().await
    }

    fn statements(&self, from: u64, to: u64) -> [String; 3] {
        let (account, campaign) = (self.literal(&self.account), self.literal(&self.campaign));
        let (credential, import, batch) = (self.literal(&self.credential), self.id(1), self.id(2));
        let (contact, enrollment, delivery) = (self.row(3), self.row(4), self.row(5));
        let numbers = self.numbers(from, to);
        [
            format!(
                "INSERT INTO contacts (id, account_id, contact_import_id, email, email_key, first_name, company, \
                 created_at) SELECT {contact}, {account}, {import}, 'past-' || n || '@example.net', \
                 'past-' || n || '@example.net', 'First' || n, 'Company ' || n, 1 FROM {numbers}"
            ),
            format!(
                "INSERT INTO enrollments (id, account_id, campaign_id, contact_id, batch_id, batch_number, \
                 smtp_credential_id, status, progress, current_step, sent_at, created_at) \
                 SELECT {enrollment}, {account}, {campaign}, {contact}, {batch}, 0, {credential}, 'sent', \
                 'finished', 1, 1, 1 FROM {numbers}"
            ),
            format!(
                "INSERT INTO deliveries (id, account_id, campaign_id, enrollment_id, smtp_credential_id, position, \
                 state, attempts, message_id, smtp_reply, sent_at, created_at) \
                 SELECT {delivery}, {account}, {campaign}, {enrollment}, {credential}, 1, 'sent', 1, \
                 'past-' || n || '@sender.example', '250 2.0.0 ok', 1, 1 FROM {numbers}"
            ),
        ]
    }

    const fn is_sqlite(&self) -> bool {
        matches!(self.database.kind().as_bytes(), b"sqlite")
    }

    /// The numbers `n` from (inclusive) … to (exclusive), as a table.
    fn numbers(&self, from: u64, to: u64) -> String {
        let last = to - 1;
        if self.is_sqlite() {
            return format!(
                "(WITH RECURSIVE counted (n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM counted WHERE n < {last}) \
                 SELECT n FROM counted) AS numbers"
            );
        }
        format!("generate_series({from}, {last}) AS numbers (n)")
    }

    /// An id of kind `kind` for the number `n` of a row: older than any that the application makes.
    fn row(&self, kind: u8) -> String {
        if self.is_sqlite() {
            return format!("unhex('0190000000007000800' || '{kind}' || printf('%012x', n))");
        }
        format!("('0190000000007000800{kind}' || lpad(to_hex(n), 12, '0'))::uuid")
    }

    /// The one row of a kind.
    fn id(&self, kind: u8) -> String {
        self.literal(&format!("0190000000007000800{kind}000000000000"))
    }

    fn literal(&self, id: &str) -> String {
        self.database.id(id)
    }
}
