//! Steps of the schema over rows that were there before them, written as they were then.

use ampout::models::states::DeliveryState;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, ExecResult, FromQueryResult, JsonValue, SqlErr, Statement,
    Value,
};
use uuid::Uuid;

use crate::support::Database;

/// An account with all that a delivery hangs on; each of its rows has the id of the account.
const OWNER: [&str; 8] = [
    "INSERT INTO plans (id, slug, name, tier, monthly_limit, public, created_at) VALUES ($1, $2, $2, 0, 9, false, 0)",
    "INSERT INTO accounts (id, plan_id, email, created_at) VALUES ($1, $1, $2, 0)",
    "INSERT INTO contact_imports (id, account_id, name, status, created_at) VALUES ($1, $1, $2, 'completed', 0)",
    "INSERT INTO contacts (id, account_id, contact_import_id, email, created_at) VALUES ($1, $1, $1, $2, 0)",
    "INSERT INTO campaigns (id, account_id, name, status, min_wait_seconds, max_wait_seconds, verify_email_mx, \
     bounce_rate_threshold, created_at) VALUES ($1, $1, $2, 'active', 0, 0, false, 8, 0)",
    "INSERT INTO smtp_credentials (id, account_id, campaign_id, smtp_host, smtp_port, smtp_username, smtp_password, \
     from_name, from_email, daily_limit, enabled_at, next_send_at, created_at) \
     VALUES ($1, $1, $1, $2, 25, $2, $3, $2, $2, 9, 0, 0, 0)",
    "INSERT INTO batches (id, account_id, campaign_id, batch_number, created_at) VALUES ($1, $1, $1, 1, 0)",
    "INSERT INTO enrollments (id, account_id, campaign_id, contact_id, batch_id, batch_number, status, progress, \
     created_at) VALUES ($1, $1, $1, $1, $1, 1, 'pending', 'claimed', 0)",
];

async fn run(db: &DatabaseConnection, sql: &str, values: Vec<Value>) -> Result<ExecResult, DbErr> {
    db.execute_raw(Statement::from_sql_and_values(db.get_database_backend(), sql, values)).await
}

async fn owner(db: &DatabaseConnection) -> Uuid {
    let id = Uuid::now_v7();
    for sql in OWNER {
        let all: [Value; 3] = [id.into(), id.to_string().into(), vec![0_u8, 255].into()];
        let named = (1..=all.len()).filter(|nth| sql.contains(&format!("${nth}"))).count();
        run(db, sql, all[..named].to_vec()).await.unwrap();
    }
    id
}

/// A delivery of the owner's one enrollment with something in each column.
async fn delivery(db: &DatabaseConnection, owner: Uuid, step: i32, state: &str) -> Result<ExecResult, DbErr> {
    let sql = "INSERT INTO deliveries (id, account_id, campaign_id, enrollment_id, smtp_credential_id, position, state, \
               attempts, resend, message_id, provider_message_id, smtp_reply, token, process_id, reserved_period, \
               reserved_day, sent_at, created_at) \
               VALUES ($1, $2, $2, $2, $2, $3, $4, $3 + 1, true, $5, 'theirs', '250 ok', $1, $2, 7, 8, 9, $3 + 2)";
    let id = Uuid::now_v7();
    let message = format!("<{id}@example.com>");
    run(db, sql, vec![id.into(), owner.into(), step.into(), state.into(), message.into()]).await
}

async fn deliveries(db: &DatabaseConnection) -> Vec<JsonValue> {
    let sql = Statement::from_string(db.get_database_backend(), "SELECT * FROM deliveries ORDER BY id");
    JsonValue::find_by_statement(sql).all(db).await.unwrap()
}

fn stage_of(state: DeliveryState) -> Option<&'static str> {
    Some(state.as_str()).filter(|_| state.is_stage())
}

#[tokio::test]
async fn deliveries_of_every_state_are_kept_and_get_their_stage() {
    let database = Database::create_before("m20261128_000090_mark_in_place").await;
    let db = sea_orm::Database::connect(&database.uri).await.unwrap();
    let owners = [owner(&db).await, owner(&db).await];
    for owner in owners {
        for (step, state) in (1..).zip(DeliveryState::ALL) {
            delivery(&db, owner, step, state.as_str()).await.unwrap();
        }
    }
    let before = deliveries(&db).await;
    assert_eq!(before.len(), 2 * DeliveryState::ALL.len());
    db.close().await.unwrap();

    database.catch_up().await;
    let db = sea_orm::Database::connect(&database.uri).await.unwrap();
    let after = deliveries(&db).await;
    assert_eq!(after.len(), before.len());
    for (was, is) in before.iter().zip(&after) {
        for (column, value) in was.as_object().unwrap() {
            assert_eq!(is[column], *value, "{column} of {was}");
        }
        let state = DeliveryState::parse(is["state"].as_str().unwrap()).unwrap();
        assert_eq!(is["stage"].as_str(), stage_of(state), "{state:?}");
    }
    // Who holds what is claimed is found by the enrollment.
    let sql = "SELECT id, process_id FROM enrollments ORDER BY id";
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
    let held =
        rows.iter().map(|row| (row.try_get("", "id").unwrap(), row.try_get("", "process_id").unwrap()));
    assert_eq!(held.collect::<Vec<(Uuid, Uuid)>>(), owners.map(|owner| (owner, owner)));
    // What held of them before holds on: one for each step, and none of another's.
    let refused = delivery(&db, owners[0], 1, "queued").await.unwrap_err();
    assert!(matches!(refused.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{refused}");
    let refused = delivery(&db, Uuid::now_v7(), 1, "queued").await.unwrap_err();
    assert!(matches!(refused.sql_err(), Some(SqlErr::ForeignKeyConstraintViolation(_))), "{refused}");
    db.close().await.unwrap();
    database.remove().await;
}

/// Every index of a row is written again where a column has changed that one of them names, be it in a condition: on PostgreSQL
/// what a mark and an outcome change is in none (ADR 14). A server's own id is, where it tells messages apart.
#[tokio::test]
async fn no_index_of_deliveries_names_what_a_mark_or_an_outcome_changes() {
    let database = Database::create().await;
    let db = sea_orm::Database::connect(&database.uri).await.unwrap();
    if db.get_database_backend() == sea_orm::DbBackend::Postgres {
        let sql = "SELECT DISTINCT a.attname::text AS name FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
                   WHERE i.indrelid = 'deliveries'::regclass AND (a.attnum = ANY(i.indkey) OR EXISTS (SELECT 1 FROM pg_depend p \
                   WHERE p.classid = 'pg_class'::regclass AND p.objid = i.indexrelid \
                   AND p.refclassid = 'pg_class'::regclass AND p.refobjid = i.indrelid AND p.refobjsubid = a.attnum)) \
                   ORDER BY 1";
        let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
        let named: Vec<String> = rows.iter().map(|row| row.try_get("", "name").unwrap()).collect();
        let for_good = ["account_id", "campaign_id", "enrollment_id", "id", "position", "smtp_credential_id"];
        let others: Vec<_> = named.iter().filter(|name| !for_good.contains(&name.as_str())).collect();
        assert_eq!(others, ["provider_message_id", "stage"], "{named:?}");
        let held = [DeliveryState::Claimed, DeliveryState::Sending, DeliveryState::Sent];
        assert!(held.into_iter().all(|state| stage_of(state).is_none()));
    }
    db.close().await.unwrap();
    database.remove().await;
}
