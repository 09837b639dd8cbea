//! How the SQLite that is linked was compiled (`.cargo/config.toml`).

use sea_orm::DbBackend;

use crate::support::world;

#[tokio::test]
async fn plans_depend_on_no_bound_value_and_connections_share_no_lock() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Sqlite {
            return;
        }
        let used = "SELECT sqlite_compileoption_used('ENABLE_QPSG') + sqlite_compileoption_used('DEFAULT_MEMSTATUS=0')";
        assert_eq!(w.number(used, []).await, 2);
        let unused = "SELECT sqlite_compileoption_used('ENABLE_MEMORY_MANAGEMENT')";
        assert_eq!(w.number(unused, []).await, 0);
    })
    .await;
}
