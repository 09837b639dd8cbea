//! What a lane is given to send: what is due, in order, and never more than its day and the plan have left. The rows are
//! changed as if time had passed.

use ampout::{
    clock::Timestamp,
    sending::ledger::{Claimed, Marking, Verdict},
};
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    Client, World,
    campaign::*,
    lane::{FRESH, HeldLane, claim, with_ledger, with_people},
};

const SECOND: i64 = 1_000_000;

/// Dispatches another batch.
async fn more(client: &Client, held: &HeldLane, people: &[String]) {
    let import = import(client, people).await;
    let path = format!("/campaigns/{}", held.campaign);
    client.made(&format!("{path}/enroll"), &json!({ "contact_import_id": import })).await;
    client.made(&format!("{path}/dispatch"), &json!({})).await;
}

/// This contact waits for that step, which fell due so many seconds ago.
async fn waits(w: &World, held: &HeldLane, email: &str, position: i32, ago: i64) {
    let sql = "UPDATE enrollments SET progress = 'waiting', next_position = $1, due_at = $2, \
               smtp_credential_id = $3 WHERE campaign_id = $4 \
               AND contact_id IN (SELECT id FROM contacts WHERE email = $5)";
    let due_at = Timestamp::now().micros() - ago * SECOND;
    let values = [position.into(), due_at.into(), held.lane.into(), held.campaign.into(), email.into()];
    assert_eq!(w.sql(sql, values).await, 1, "{email}");
}

/// Steps and addresses in the order in which they were given.
fn told(claimed: &[Claimed]) -> Vec<(i32, &str)> {
    claimed.iter().map(|one| (one.position, one.contact.email.as_str())).collect()
}

#[tokio::test]
async fn follow_ups_and_retries_go_first_and_count_towards_what_is_asked_for() {
    with_people(6, |w, mine| async move {
        waits(&w, &mine, "ok+4@example.test", 2, 5).await;
        waits(&w, &mine, "ok+5@example.test", 1, 9).await;
        let claimed = claim(&w, &mine, 4).await;
        let expected = [
            (1, "ok+5@example.test"),
            (2, "ok+4@example.test"),
            (1, "ok+0@example.test"),
            (1, "ok+1@example.test"),
        ];
        assert_eq!(told(&claimed), expected);
        let reserved = "SELECT reserved FROM credential_days WHERE smtp_credential_id = $1";
        assert_eq!(w.number(reserved, [mine.lane.into()]).await, 3, "first steps only");
        let reserved = "SELECT reserved FROM account_periods WHERE account_id = $1";
        assert_eq!(w.number(reserved, [mine.account.into()]).await, 4);
    })
    .await;
}

#[tokio::test]
async fn batches_follow_one_another_up_to_what_is_asked_for_or_the_day_has_left() {
    with_people(2, |w, mine| async move {
        more(&w.alice, &mine, &addresses("more", 2)).await;
        more(&w.alice, &mine, &addresses("last", 3)).await;
        let give_back = async || {
            let sql = "UPDATE enrollments SET progress = 'queued' WHERE campaign_id = $1";
            w.sql(sql, [mine.campaign.into()]).await;
            w.sql("UPDATE batches SET drained = false", []).await;
            w.sql("DELETE FROM deliveries", []).await;
            w.sql("DELETE FROM credential_days", []).await;
        };
        let expected = [
            (1, "ok+0@example.test"),
            (1, "ok+1@example.test"),
            (1, "more+0@example.test"),
            (1, "more+1@example.test"),
            (1, "last+0@example.test"),
        ];
        assert_eq!(told(&claim(&w, &mine, 5).await), expected);
        give_back().await;
        w.sql("UPDATE smtp_credentials SET daily_limit = 5", []).await;
        assert_eq!(told(&claim(&w, &mine, 50).await), expected);
        // One that has nothing to begin holds up none that has.
        give_back().await;
        let sql = "UPDATE enrollments SET progress = 'finished' WHERE campaign_id = $1 \
                   AND contact_id IN (SELECT id FROM contacts WHERE email LIKE 'ok%')";
        w.sql(sql, [mine.campaign.into()]).await;
        assert_eq!(told(&claim(&w, &mine, 2).await), expected[2..4]);
    })
    .await;
}

#[tokio::test]
async fn a_retry_of_a_first_step_needs_a_place_in_the_day_and_a_follow_up_needs_none() {
    with_people(5, |w, mine| async move {
        // Two of seven places are left.
        w.sql("UPDATE smtp_credentials SET daily_limit = 7", []).await;
        let day = "INSERT INTO credential_days (smtp_credential_id, day, account_id, reserved, first_sends) \
                   VALUES ($1, $2, $3, 2, 3)";
        w.sql(day, [mine.lane.into(), Timestamp::now().day().into(), mine.account.into()]).await;
        for (nth, ago) in [(0, 9), (1, 8), (2, 7)] {
            waits(&w, &mine, &format!("ok+{nth}@example.test"), 1, ago).await;
        }
        waits(&w, &mine, "ok+3@example.test", 2, 6).await;
        let claimed = claim(&w, &mine, 50).await;
        let expected = [(1, "ok+0@example.test"), (1, "ok+1@example.test"), (2, "ok+3@example.test")];
        assert_eq!(told(&claimed), expected);
        // A retry that has no place does not stand in the way of a follow-up.
        waits(&w, &mine, "ok+4@example.test", 2, 1).await;
        assert_eq!(told(&claim(&w, &mine, 1).await), [(2, "ok+4@example.test")]);
        assert!(claim(&w, &mine, 1).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_first_step_that_is_tried_again_takes_the_place_of_another() {
    with_people(5, |w, mine| async move {
        w.sql("UPDATE smtp_credentials SET daily_limit = 3", []).await;
        waits(&w, &mine, "ok+3@example.test", 1, 1).await;
        waits(&w, &mine, "ok+4@example.test", 2, 1).await;
        let claimed = claim(&w, &mine, 50).await;
        assert_eq!(claimed.iter().filter(|one| one.position == 1).count(), 3);
        assert_eq!(claimed.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn no_more_is_given_than_the_plan_has_left() {
    with_people(5, |w, mine| async move {
        w.sql("DELETE FROM account_periods", []).await;
        w.sql("UPDATE plans SET monthly_limit = 100", []).await;
        let period = "INSERT INTO account_periods (account_id, period_start, period_end, sends, reserved) \
                      VALUES ($1, 0, 9000000000000000000, 94, 4)";
        w.sql(period, [mine.account.into()]).await;
        assert_eq!(claim(&w, &mine, 50).await.len(), 2);
        assert!(claim(&w, &mine, 50).await.is_empty(), "they are reserved");
    })
    .await;
}

#[tokio::test]
async fn a_follow_up_waits_until_its_mailbox_was_read_also_between_claim_and_mark() {
    with_people(3, |w, mine| async move {
        let now = Timestamp::now();
        let unread = now.minus(FRESH).micros() - SECOND;
        waits(&w, &mine, "ok+1@example.test", 2, 1).await;
        waits(&w, &mine, "ok+2@example.test", 2, 0).await;
        w.sql("UPDATE batches SET drained = true", []).await;
        let sql = "UPDATE smtp_credentials SET imap_host = 'IMAP.test', imap_port = 993, imap_username = 'me'";
        w.sql(sql, []).await;
        assert!(claim(&w, &mine, 50).await.is_empty(), "never read");
        let mailbox = "INSERT INTO mailboxes (id, account_id, host, port, username, next_poll_at, last_read_at, \
                       created_at) VALUES ($1, $2, 'imap.test', 993, 'me', 0, $3, 0)";
        w.sql(mailbox, [Uuid::now_v7().into(), mine.account.into(), unread.into()]).await;
        assert!(claim(&w, &mine, 50).await.is_empty(), "not read lately");
        let read = async |at: i64| w.sql("UPDATE mailboxes SET last_read_at = $1", [at.into()]).await;
        read(now.micros()).await;
        let claimed = claim(&w, &mine, 50).await;
        assert_eq!(told(&claimed), [(2, "ok+1@example.test"), (2, "ok+2@example.test")]);
        let marked = async |one: &Claimed| {
            with_ledger(&w, async |ledger| ledger.mark(None, one.ticket(), [0; 32]).await.unwrap()).await
        };
        assert!(matches!(marked(&claimed[0]).await, Marking::Go(_)));
        read(unread).await;
        assert!(matches!(marked(&claimed[1]).await, Marking::Stopped(Verdict::GivenBack)));
    })
    .await;
}

#[tokio::test]
async fn a_lane_without_a_mailbox_waits_for_none() {
    with_people(1, |w, mine| async move {
        waits(&w, &mine, "ok+0@example.test", 2, 1).await;
        let claimed = claim(&w, &mine, 50).await;
        assert_eq!(told(&claimed), [(2, "ok+0@example.test")]);
        let ticket = claimed[0].ticket();
        let marking = with_ledger(&w, async |ledger| ledger.mark(None, ticket, [0; 32]).await.unwrap()).await;
        assert!(matches!(marking, Marking::Go(_)));
    })
    .await;
}
