//! What somebody holds is found by the index that has it: SQLite has no statistics, and takes another where it may.

#![expect(clippy::unwrap_used, reason = "tests")]

use migration::{Migrator, MigratorTrait as _};
use rstest::rstest;
use sea_orm::{ConnectOptions, Database, DbBackend};
use uuid::Uuid;

use super::facts::{Holder, held_by};
use crate::tenancy::{Conn, SystemScope};

/// PostgreSQL would take the account's own index for a few rows, where its statistics are older than the account.
#[rstest]
#[case::of_the_dead(Holder::Dead(Uuid::nil()))]
#[case::of_a_process(Holder::Process(Uuid::nil()))]
fn of_deliveries_only_the_enrollment_is_asked(#[case] holder: Holder) {
    let text = held_by(DbBackend::Postgres, holder).text;
    let asked: Vec<&str> = text.split(" d.").skip(2).collect();
    assert_eq!(
        asked,
        [
            "account_id = c.account_id AND",
            "enrollment_id = c.id AND",
            "state IN ('claimed', 'sending') LIMIT 500"
        ],
        "{text}"
    );
}

#[rstest]
#[case::of_the_dead(Holder::Dead(Uuid::nil()))]
#[case::of_a_process(Holder::Process(Uuid::nil()))]
#[case::of_a_lane(Holder::Lane(Uuid::nil(), Uuid::nil()))]
#[tokio::test]
async fn what_is_held_is_found_by_its_own_index(#[case] holder: Holder) {
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1);
    let db = Database::connect(options).await.unwrap();
    Migrator::up(&db, None).await.unwrap();
    let system = SystemScope::new(Conn::Pool(db));
    let sql = held_by(DbBackend::Sqlite, holder);
    let rows = system.query(&format!("EXPLAIN QUERY PLAN {}", sql.text), sql.values).await.unwrap();
    let steps: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
    let of_tables: Vec<_> =
        steps.iter().filter(|step| step.contains(" e ") || step.contains(" d ")).collect();
    assert_eq!(
        of_tables,
        [
            "SEARCH e USING INDEX ix_enrollments_held (process_id=?)",
            "SEARCH d USING INDEX uq_deliveries_step (account_id=? AND enrollment_id=?)"
        ],
        "{steps:?}"
    );
}
