//! What PostgreSQL writes to its log, as the log itself tells it: images of whole pages apart, which it writes of each page
//! that is changed for the first time since a checkpoint. The server's statistics say the same up to ten seconds later.

use testkit::api::Error;

use crate::database::Database;

/// Written in between two places of the log.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Bytes in all.
    pub bytes: f64,
    /// Those of them that are images of pages.
    pub page_images: f64,
}

/// How far the log was written.
#[derive(Clone, Copy, Debug)]
pub struct Place(i64);

/// Whether it is PostgreSQL, has `pg_walinspect` (from version 15 on, among what comes with the server), and its user may
/// use it.
pub async fn may_look(database: &Database) -> bool {
    database.kind() == "postgresql"
        && database.run("CREATE EXTENSION IF NOT EXISTS pg_walinspect").await.is_ok()
}

impl Place {
    /// That of now.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn of(database: &Database) -> Result<Self, Error> {
        let sql = "SELECT CAST(pg_current_wal_flush_lsn() - pg_lsn '0/0' AS bigint)";
        database.number(sql).await.map(Self)
    }

    /// What was written since.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn written_since(self, database: &Database) -> Result<Written, Error> {
        let Self(then) = self;
        let Self(now) = Self::of(database).await?;
        let sum = async |column: &str| {
            let sql = format!(
                "SELECT CAST(coalesce(sum({column}), 0) AS bigint) \
                 FROM pg_get_wal_stats(pg_lsn '0/0' + {then}, pg_lsn '0/0' + {})",
                now - 1
            );
            // Far less than what a float holds exactly.
            Ok::<_, Error>(f64::from(u32::try_from(database.number(&sql).await?)?))
        };
        Ok(Written { bytes: sum("combined_size").await?, page_images: sum("fpi_size").await? })
    }
}
