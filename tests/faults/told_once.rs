//! The loop that tells endpoints outlives what its database refuses: what was posted is recorded by the lane that posted it.

use testkit::receiver::{Behaviour, Receiver};

use super::engine_process;
use crate::{
    support::{campaign::DEADLINE, world},
    webhooks::{hook, tell, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_posted_while_the_database_refuses_lanes_is_told_once() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        receiver.script("/hook", [Behaviour::Hold]);
        let (id, _) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        let (theirs, _) = hook(&w.bob, &receiver, "/theirs", &["*"]).await;
        // Nobody is to be declared dead meanwhile.
        let mut engine = engine_process(&w).env("ENGINE_DEAD_AFTER_SECONDS", "60").start().unwrap();
        tell(&w, &w.alice, 1).await;
        receiver.wait_for("/hook", 1, DEADLINE).await.unwrap();
        // Lanes are looked for with it, and what was posted is recorded without.
        w.sql("ALTER TABLE engine_processes RENAME TO away", []).await;
        engine.wait_for_output("webhook lanes are taken again", DEADLINE).await.unwrap();
        w.sql("ALTER TABLE away RENAME TO engine_processes", []).await;
        tell(&w, &w.bob, 1).await;
        until(&w.bob, &theirs, |rows| rows[0]["status_code"] == 204).await;
        receiver.release();
        until(&w.alice, &id, |rows| rows[0]["status_code"] == 204).await;
        assert_eq!(receiver.requests("/hook").len(), 1, "told twice\n{}", engine.output());
        assert_eq!(receiver.requests("/theirs").len(), 1);
    })
    .await;
}
