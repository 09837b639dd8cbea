//! What is deleted while it is being sent leaves no count behind.

use testkit::{
    sink::{Matcher, Point, Sink},
    wait::eventually,
};

use crate::{
    models::removal::remove_all,
    support::{campaign::*, world},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_deleted_while_it_is_sent_leaves_nobody_pending() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let lanes = [credential(&sink, "one@sender.test")];
        let hold = sink.hold(Point::AfterDot, Matcher::Any);
        enrolled(&w.bob, &campaign(&lanes, 1), &addresses("ok", 3)).await;
        let mine = dispatched(&w.alice, &campaign(&lanes, 1), &addresses("ok", 60)).await;
        let engine = Engine::start(&w.ctx);
        hold.reached(DEADLINE).await.unwrap();
        let imports = w.alice.seen("/contact_imports").await;
        let import = imports[0]["id"].as_str().unwrap();
        w.alice.delete(&format!("/contact_imports/{import}")).await.assert_status_ok();
        hold.release();
        // The sender passes over those that it had claimed or claims now; what it leaves, the removal takes.
        let claimed = "SELECT count(*) FROM enrollments WHERE progress = 'claimed'";
        eventually(DEADLINE, || async { (w.number(claimed, []).await == 0).then_some(()) }).await.unwrap();
        engine.stop().await;
        remove_all(&w).await;
        assert_eq!(w.number("SELECT count(*) FROM enrollments", []).await, 3);
        let totals = &w.alice.seen(&format!("/campaigns/{mine}")).await["totals"];
        assert_eq!(totals["pending"], 0, "{totals}");
        assert_eq!(w.number("SELECT CAST(sum(pending) AS bigint) FROM batches", []).await, 3);
    })
    .await;
}
