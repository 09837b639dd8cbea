//! What a scope refuses to run, what it puts into one statement, and which rows its statements meet.

use ampout::{
    clock::{Timestamp, new_id},
    models::_entities::outreaches::{self, ActiveModel, Column, Entity},
    tenancy::{Conn, Scope, SystemScope},
};
use sea_orm::{DbErr, Set, sea_query::Expr};
use uuid::Uuid;

use crate::support::{Client, World, held::Held, world};

fn everybody(w: &World) -> SystemScope {
    SystemScope::new(Conn::Pool(w.ctx.db.clone()))
}

fn scope_of(w: &World, client: &Client) -> Scope {
    everybody(w).account(client.account_id.parse().unwrap())
}

/// An outreach of the account.
async fn outreach(scope: &Scope) -> Uuid {
    let id = new_id();
    let row = outreaches::Model {
        id,
        account_id: scope.account_id(),
        name: "outreach".into(),
        unique_contacts: false,
        created_at: Timestamp::from_seconds(1_700_000_000),
    };
    scope.insert::<Entity>(row).await.unwrap();
    id
}

#[tokio::test]
async fn finding_changing_and_deleting_meet_rows_of_the_account_only() {
    world(|w| async move {
        let (mine, theirs) = (scope_of(&w, &w.alice), scope_of(&w, &w.bob));
        let (first, second) = (outreach(&mine).await, outreach(&mine).await);
        let other = outreach(&theirs).await;
        for id in [first, second] {
            assert_eq!(mine.get::<Entity>(id).await.unwrap().id, id);
        }
        assert!(mine.get::<Entity>(other).await.is_err() && mine.lock::<Entity>(other).await.is_err());
        let found = [mine.find::<Entity>(), mine.find_hidden::<Entity>()];
        for rows in found {
            assert_eq!(rows.all(&mine.db()).await.unwrap().len(), 2);
        }
        let renamed =
            |name: &'static str| w.number("SELECT count(*) FROM outreaches WHERE name = $1", [name.into()]);
        let change = |name: &str| ActiveModel { name: Set(name.into()), ..Default::default() };
        mine.save::<Entity>(second, change("one")).await.unwrap();
        mine.save::<Entity>(other, change("one")).await.unwrap();
        assert_eq!(renamed("one").await, 1, "the row that was named, when it is the account's");
        let all = mine.update::<Entity>().col_expr(Column::Name, Expr::value("all"));
        all.exec(&mine.db()).await.unwrap();
        assert_eq!(renamed("all").await, 2);
        mine.delete::<Entity>().exec(&mine.db()).await.unwrap();
        assert_eq!(w.number("SELECT count(*) FROM outreaches", []).await, 1);
        assert!(theirs.get::<Entity>(other).await.is_ok());
    })
    .await;
}

/// Whether a statement on another connection gets the row in this way without waiting.
async fn is_free(w: &World, id: Uuid, way: &str) -> bool {
    let sql = format!("SELECT id FROM outreaches WHERE id = $1 FOR {way} NOWAIT");
    everybody(w).query(&sql, [id.into()]).await.is_ok()
}

/// PostgreSQL locks rows; SQLite, where `Held` is none, lets one writer in at a time.
#[tokio::test]
async fn a_locked_row_is_held_until_the_end_and_may_be_referred_to_if_its_key_is_left() {
    world(|w| async move {
        let mine = scope_of(&w, &w.alice);
        let id = outreach(&mine).await;
        assert_eq!(mine.lock::<Entity>(id).await.unwrap().id, id);
        assert_eq!(mine.lock_but_key::<Entity>(id).await.unwrap().id, id);
        for with_key in [true, false] {
            let Some(held) = Held::begin(&w).await else { return };
            let scope = held.system.account(mine.account_id());
            if with_key {
                scope.lock::<Entity>(id).await.unwrap();
            } else {
                scope.lock_but_key::<Entity>(id).await.unwrap();
            }
            drop(scope);
            assert!(!is_free(&w, id, "SHARE").await, "key too: {with_key}");
            assert_eq!(is_free(&w, id, "KEY SHARE").await, !with_key, "what refers to it");
            held.commit().await;
            assert!(is_free(&w, id, "UPDATE").await);
        }
    })
    .await;
}

#[tokio::test]
async fn a_statement_that_does_not_name_the_account_is_refused() {
    world(|w| async move {
        let scope =
            SystemScope::new(Conn::Pool(w.ctx.db.clone())).account(w.alice.account_id.parse().unwrap());
        let everybodys = "UPDATE api_keys SET label = 'taken'";
        let told = [
            scope.execute(everybodys, []).await.map(|_| ()),
            scope.query("SELECT id FROM api_keys", []).await.map(|_| ()),
            scope.query_one("SELECT id FROM api_keys", []).await.map(|_| ()),
        ];
        for outcome in told {
            let refused =
                outcome.is_err_and(|error| error.to_string().contains("must be bound to its account"));
            assert!(refused, "a statement ran without its account");
        }
        assert_eq!(w.number("SELECT count(*) FROM api_keys WHERE label = 'taken'", []).await, 0);
        let own =
            scope.execute("UPDATE api_keys SET label = 'mine' WHERE account_id = $1", []).await.unwrap();
        assert_eq!(own, 1, "the other account's key is not touched");
    })
    .await;
}

/// 14,000 rows of five columns: more parameters than a statement may have on either database.
#[tokio::test]
async fn any_number_of_rows_is_added_for_the_account_and_for_no_other() {
    world(|w| async move {
        let scope =
            SystemScope::new(Conn::Pool(w.ctx.db.clone())).account(w.alice.account_id.parse().unwrap());
        let bob = w.bob.account_id.parse().unwrap();
        let row = |number: usize| outreaches::Model {
            id: new_id(),
            account_id: bob,
            name: format!("outreach {number}"),
            unique_contacts: false,
            created_at: Timestamp::from_seconds(1_700_000_000),
        };
        scope.insert_all::<outreaches::Entity>((0..14_000).map(row).collect()).await.unwrap();
        let of = |account: uuid::Uuid| {
            w.number("SELECT count(*) FROM outreaches WHERE account_id = $1", [account.into()])
        };
        assert_eq!((of(scope.account_id()).await, of(bob).await), (14_000, 0), "whatever the rows say");
    })
    .await;
}

#[tokio::test]
async fn what_is_begun_for_every_account_and_fails_is_undone() {
    world(|w| async move {
        let renamed = async |fails: bool| {
            let done = SystemScope::in_transaction(&w.db(), async |system| {
                let changed = system.execute("UPDATE api_keys SET label = 'renamed'", []).await?;
                if fails { Err(DbErr::Custom("stopped half-way".into())) } else { Ok(changed) }
            })
            .await;
            (done.ok(), w.number("SELECT count(*) FROM api_keys WHERE label = 'renamed'", []).await)
        };
        assert_eq!(renamed(true).await, (None, 0));
        assert_eq!(renamed(false).await, (Some(2), 2));
    })
    .await;
}
