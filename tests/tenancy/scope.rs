//! What a scope refuses to run, and what it puts into one statement.

use ampout::{
    clock::{Timestamp, new_id},
    models::_entities::outreaches,
    tenancy::{Conn, SystemScope},
};

use crate::support::world;

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
