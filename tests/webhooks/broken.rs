//! A lane whose look for work fails ends, but not before what it has posted is answered and recorded.

use testkit::receiver::{Behaviour::Hold, Receiver};

use super::{hook, tell, until};
use crate::{
    faults::engine_process,
    support::{campaign::DEADLINE, world},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_posted_while_a_look_fails_is_told_once() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        receiver.script("/hook", [Hold]);
        let (id, _) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        let (theirs, _) = hook(&w.bob, &receiver, "/theirs", &["*"]).await;
        tell(&w, &w.alice, 1).await;
        // Nobody is to be declared dead meanwhile.
        let mut engine = engine_process(&w).env("ENGINE_DEAD_AFTER_SECONDS", "60").start().unwrap();
        receiver.wait_for("/hook", 1, DEADLINE).await.unwrap();
        w.sql("ALTER TABLE webhook_deliveries RENAME TO away", []).await;
        engine.wait_for_output("a webhook lane begins nothing more", DEADLINE).await.unwrap();
        w.sql("ALTER TABLE away RENAME TO webhook_deliveries", []).await;
        // Others go on, and lanes that nobody works on are given up meanwhile.
        tell(&w, &w.bob, 1).await;
        until(&w.bob, &theirs, |rows| rows[0]["status_code"] == 204).await;
        receiver.release();
        until(&w.alice, &id, |rows| rows[0]["status_code"] == 204).await;
        assert_eq!(receiver.requests("/hook").len(), 1, "told twice\n{}", engine.output());
        // The lane is given up, and taken again.
        tell(&w, &w.alice, 1).await;
        until(&w.alice, &id, |rows| rows.iter().all(|row| row["status_code"] == 204)).await;
        assert_eq!((receiver.requests("/hook").len(), receiver.requests("/theirs").len()), (2, 1));
    })
    .await;
}
