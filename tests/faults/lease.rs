//! A process whose deliveries were taken from it without its knowing: it sends nothing that it did not mark, and changes
//! no row that another holds.

use testkit::{
    sink::{Matcher, Point, Sink},
    wait::eventually,
};
use uuid::Uuid;

use crate::support::{campaign::*, world};

const PEOPLE: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_holds_by_now_is_neither_sent_nor_changed() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(Point::AfterDot, Matcher::Any);
        let _engine = Engine::start(&w.ctx);
        let people = addresses("ok", PEOPLE);
        dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        hold.reached(DEADLINE).await.unwrap();
        // One is on the wire and one is claimed: as if both were given back, and then claimed and marked by another.
        let other = Uuid::now_v7();
        let taken = "UPDATE deliveries SET token = $1 WHERE state = 'sending' \
                     OR id = (SELECT id FROM deliveries WHERE state = 'claimed' ORDER BY id LIMIT 1)";
        assert_eq!(w.sql(taken, [other.into()]).await, 2);
        hold.release();
        let sent = "SELECT count(*) FROM deliveries WHERE state = 'sent'";
        eventually(DEADLINE, || async { (w.number(sent, []).await >= 4).then_some(()) }).await.unwrap();
        let rows = "SELECT count(*) FROM deliveries WHERE token = $1 AND attempts = 0 AND state = ";
        let one_of_each = [
            w.number(&format!("{rows}'sending'"), [other.into()]).await,
            w.number(&format!("{rows}'claimed'"), [other.into()]).await,
        ];
        assert_eq!(one_of_each, [1, 1], "a row was changed with a stale token");
        assert_eq!(sink.count(), 5, "a message went out with a stale token");
    })
    .await;
}
