//! Every column that holds sealed values: what the rotation of the master key seals anew. A test holds this list against
//! the schema.

/// A column of sealed values. Its table has an `id`, which is the row of their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedColumn {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// Whether the place names the row's `account_id`; else the row belongs to the installation.
    pub of_account: bool,
}

const fn of_account(table: &'static str, column: &'static str) -> SealedColumn {
    SealedColumn { table, column, of_account: true }
}

/// All of them.
pub const SEALED: [SealedColumn; 5] = [
    SealedColumn { table: "app_keys", column: "sealed", of_account: false },
    of_account("idempotency_keys", "body"),
    of_account("smtp_credentials", "imap_password"),
    of_account("smtp_credentials", "smtp_password"),
    of_account("webhooks", "secret"),
];
