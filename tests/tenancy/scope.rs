//! What a scope refuses to run.

use ampout::tenancy::{Conn, SystemScope};

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
