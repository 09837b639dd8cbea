//! What comes back for a message before its outcome does is worth as much as behind it: of two accounts with the same campaign,
//! alice hears of hers while the mail server still owes its last answer, and bob when there is none to come any more.

use ampout::{
    clock::Timestamp,
    models::{
        deliveries::evidence::{Evidence, note},
        states::DeliveryState,
    },
    tenancy::SystemScope,
};
use rstest::rstest;
use sea_orm::{ConnectionTrait, Statement};
use testkit::{
    child::Child,
    imap::Imap,
    receiver::Receiver,
    sink::{Hold, Matcher, Point, Sink},
    wait::eventually,
};
use uuid::Uuid;

use super::{fixture, hurry, two_steps, with_mailbox};
use crate::{
    faults::{engine_process, heir_process},
    support::{Client, World, campaign::*, lane::FRESH, rows::Rows, world},
    webhooks::hook,
};

const ADA: &str = "ada+1@example.test";
const PERSON: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const SCANNER: &str = "Googlebot/2.1 (+http://www.google.com/bot.html)";
const EVENTS: [&str; 4] =
    ["enrollment.sent", "enrollment.opened", "enrollment.replied", "enrollment.bounced"];

/// What comes back.
#[derive(Clone, Copy)]
enum What {
    /// This mail of the corpus.
    Mail(&'static str),
    /// Somebody loads the pixel.
    Load(&'static str),
}

/// How the last answer of the mail server is waited for in vain, or comes.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Cut,
    Killed,
    Accepted,
}

/// An engine in this process, or one that can be killed.
enum Sending {
    Here(Engine),
    There(Box<Child>),
}

impl Sending {
    fn start(w: &World, end: End) -> Self {
        if end == End::Killed {
            Self::There(Box::new(engine_process(w).env("INBOX_POLL_SECONDS", "1").start().unwrap()))
        } else {
            Self::Here(Engine::start(&w.ctx))
        }
    }

    /// Both messages end so, and somebody goes on sending.
    async fn ends(self, w: &World, hold: &Hold, end: End) -> Self {
        match self {
            Self::There(mut child) => {
                child.kill_9().await.unwrap();
                hold.cut();
                Self::There(Box::new(heir_process(w).env("INBOX_POLL_SECONDS", "1").start().unwrap()))
            }
            Self::Here(engine) => {
                if end == End::Cut {
                    hold.cut();
                } else {
                    hold.release();
                }
                Self::Here(engine)
            }
        }
    }

    async fn stop(self) {
        if let Self::Here(engine) = self {
            engine.stop().await;
        }
    }
}

/// What came back for the message that this sender's account sent to Ada, as its mailbox or its web pages hear it.
async fn comes_back(w: &World, sink: &Sink, imap: &Imap, sender: &str, what: What) {
    let messages = sink.messages_to(ADA);
    let sent = messages.iter().find(|message| message.from == sender).unwrap();
    match what {
        What::Mail(name) => {
            imap.deliver(fixture(name, &sent.header("Message-ID").unwrap(), ADA));
        }
        What::Load(agent) => {
            let html = sent.html().unwrap();
            let at = html.find("/o/").unwrap();
            let pixel: String = html[at..].chars().take_while(|c| !matches!(c, '"' | '\'' | ' ')).collect();
            w.server.get(&pixel).add_header("user-agent", agent).await.assert_status_ok();
        }
    }
}

/// What a table has of a message: these columns, and which of those that may be empty are not.
const TABLES: [(&str, &[&str], &[&str]); 8] = [
    (
        "deliveries",
        &["state", "attempts", "coalesce(heard, 'nothing')"],
        &["smtp_reply", "token", "process_id", "reserved_period", "reserved_day", "sent_at"],
    ),
    (
        "enrollments",
        // Of one that is finished no step is the next.
        &[
            "status",
            "progress",
            "current_step",
            "CASE WHEN progress = 'finished' THEN 0 ELSE next_position END",
        ],
        &[
            "due_at",
            "sent_at",
            "opened_at",
            "replied_at",
            "bounced_at",
            "unsubscribed_at",
            "auto_replied_at",
            "bounce_reason",
            "process_id",
        ],
    ),
    ("account_periods", &["sends", "reserved"], &[]),
    ("credential_days", &["sum(sends)", "sum(first_sends)", "sum(bounced)", "sum(reserved)"], &[]),
    ("batches", &["undispatched", "pending", "sent", "opened", "replied", "bounced", "unsubscribed"], &[]),
    (
        "campaign_totals",
        &["pending", "sent", "opened", "replied", "bounced", "unsubscribed", "sent_or_bounced", "uncertain"],
        &[],
    ),
    ("campaigns", &["status"], &[]),
    ("webhook_deliveries", &["event_type"], &[]),
];

/// All that an account has of its one message, but for ids and times.
async fn all_of(w: &World, client: &Client) -> Vec<String> {
    let account: Uuid = client.account_id.parse().unwrap();
    let mut all = Vec::new();
    for (table, columns, nullable) in TABLES {
        let columns = columns.iter().map(|it| format!(" || ' ' || CAST({it} AS text)"));
        let filled = nullable.iter().map(|it| format!(" || CASE WHEN {it} IS NULL THEN '' ELSE ' {it}' END"));
        let text: String = columns.chain(filled).collect();
        let sql = format!("SELECT '{table}'{text} FROM {table} WHERE account_id = $1 ORDER BY 1");
        let asked = Statement::from_sql_and_values(w.ctx.db.get_database_backend(), sql, [account.into()]);
        let rows = w.ctx.db.query_all_raw(asked).await.unwrap();
        all.extend(rows.iter().map(|row| row.try_get_by_index::<String>(0).unwrap()));
    }
    all
}

/// `states`: of the delivery, the enrollment and the campaign in the end. `bounced`: what counts against the lane.
#[rstest]
#[case::answered_and_silence(What::Mail("reply_plain"), End::Cut, ["sent", "replied", "completed"], 0)]
#[case::answered_and_killed(What::Mail("reply_plain"), End::Killed, ["sent", "replied", "completed"], 0)]
#[case::answered_and_accepted(What::Mail("reply_plain"), End::Accepted, ["sent", "replied", "completed"], 0)]
#[case::a_machine_and_silence(What::Mail("auto_rfc3834"), End::Cut, ["sent", "sent", "active"], 0)]
#[case::a_machine_and_killed(What::Mail("auto_rfc3834"), End::Killed, ["sent", "sent", "active"], 0)]
#[case::delayed_and_silence(What::Mail("delayed_postfix"), End::Cut, ["sent", "sent", "active"], 0)]
#[case::bounced_and_silence(What::Mail("bounce_postfix"), End::Cut, ["bounced", "bounced", "completed"], 1)]
#[case::bounced_and_killed(What::Mail("bounce_postfix"), End::Killed, ["bounced", "bounced", "completed"], 1)]
#[case::bounced_and_accepted(What::Mail("bounce_postfix"), End::Accepted, ["bounced", "bounced", "completed"], 1)]
#[case::complained_and_silence(What::Mail("complaint_arf"), End::Cut, ["sent", "unsubscribed", "completed"], 0)]
#[case::opened_and_silence(What::Load(PERSON), End::Cut, ["sent", "opened", "active"], 0)]
#[case::opened_and_killed(What::Load(PERSON), End::Killed, ["sent", "opened", "active"], 0)]
#[case::scanned_and_silence(What::Load(SCANNER), End::Cut, ["sent", "sent", "active"], 0)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_back_before_the_outcome_is_worth_what_it_is_behind_it(
    #[case] what: What,
    #[case] end: End,
    #[case] states: [&str; 3],
    #[case] bounced: i64,
) {
    world(|w| async move {
        hurry(&w, FRESH);
        let (sink, receiver) = (Sink::start().await.unwrap(), Receiver::start().await.unwrap());
        let imaps = [Imap::start().await.unwrap(), Imap::start().await.unwrap()];
        let senders = ["alice@sender.test", "bob@sender.test"];
        for ((client, imap), sender) in [&w.alice, &w.bob].into_iter().zip(&imaps).zip(senders) {
            hook(client, &receiver, "/", &EVENTS).await;
            dispatched(client, &two_steps(&[with_mailbox(&sink, imap, sender)]), &[ADA.to_owned()]).await;
        }
        let hold = sink.hold(Point::AfterDot, Matcher::Any);
        let sending = Sending::start(&w, end);
        hold.reached_by(2, DEADLINE).await.unwrap();

        comes_back(&w, &sink, &imaps[0], senders[0], what).await;
        let heard = "SELECT count(*) FROM deliveries WHERE state = 'sending' AND heard IS NOT NULL";
        eventually(DEADLINE, || async { (w.number(heard, []).await == 1).then_some(()) }).await.unwrap();
        assert_eq!(deliveries(&w, "sending").await, 2);

        let sending = sending.ends(&w, &hold, end).await;
        let over = || async { (deliveries(&w, "sending").await == 0).then_some(()) };
        eventually(DEADLINE, over).await.unwrap();
        assert_eq!(deliveries(&w, "uncertain").await, usize::from(end != End::Accepted), "bob's alone");

        comes_back(&w, &sink, &imaps[1], senders[1], what).await;
        let [state, status, campaign] = states;
        let expected = [
            format!("deliveries {state} "),
            format!("enrollments {status} "),
            "account_periods 1 0".to_owned(),
            format!("credential_days 1 1 {bounced} 0"),
            format!("campaigns {campaign}"),
        ];
        let has = |all: &[String], start: &str| all.iter().any(|row| row.starts_with(start));
        let both = || async { [all_of(&w, &w.alice).await, all_of(&w, &w.bob).await] };
        let ended = || async {
            rests_are_over(&w).await;
            let [mine, theirs] = both().await;
            (mine == theirs && expected.iter().all(|row| has(&mine, row))).then_some(())
        };
        if eventually(DEADLINE, ended).await.is_err() {
            let [mine, theirs] = both().await;
            assert_eq!(mine, theirs, "the same as bob's");
            panic!("not {expected:?}: {mine:?}");
        }
        assert_eq!(sink.count(), 2, "nobody was written to twice");
        sending.stop().await;
    })
    .await;
}

/// Alice's is uncertain by now, and was not when it was read by whoever hears of it; bob's is as it is said to be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_uncertain_since_it_was_looked_at_is_settled() {
    world(|w| async move {
        let mut all = [Rows::of(w.alice.account_id.parse().unwrap()), Rows::of(w.bob.account_id.parse().unwrap())];
        for rows in &mut all {
            rows.delivery.heard = None;
            rows.delivery.state = DeliveryState::Sending;
            rows.store(&w.ctx.db).await;
        }
        let uncertain = "UPDATE deliveries SET state = 'uncertain' WHERE id = $1";
        w.sql(uncertain, [all[0].delivery.id.into()]).await;
        for rows in &all {
            SystemScope::in_transaction(&w.db(), async |system| {
                let scope = system.account(rows.account_id);
                note(&scope, &rows.delivery, Evidence::Arrived, Timestamp::now()).await
            })
            .await
            .unwrap();
        }
        let is = "SELECT count(*) FROM deliveries WHERE id = $1 AND state = $2 AND (heard = 'arrived') IS NOT FALSE";
        for (rows, state) in all.iter().zip(["sent", "sending"]) {
            assert_eq!(w.number(is, [rows.delivery.id.into(), state.into()]).await, 1, "{state}");
        }
        assert_eq!(w.number("SELECT count(*) FROM deliveries WHERE heard IS NOT NULL", []).await, 1, "bob's");
    })
    .await;
}

/// A notice is the last word: an answer of a machine, before or behind it, takes nothing from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_stands_whatever_else_comes_back() {
    let notice = Evidence::Failed { reason: "550 5.1.1 unknown".into() };
    world(|w| async move {
        for (client, heard) in
            [(&w.alice, [&notice, &Evidence::Arrived]), (&w.bob, [&Evidence::Arrived, &notice])]
        {
            let mut rows = Rows::of(client.account_id.parse().unwrap());
            rows.delivery.heard = None;
            rows.delivery.state = DeliveryState::Sending;
            rows.store(&w.ctx.db).await;
            for evidence in heard {
                SystemScope::in_transaction(&w.db(), async |system| {
                    let scope = system.account(rows.account_id);
                    note(&scope, &rows.delivery, evidence.clone(), Timestamp::now()).await
                })
                .await
                .unwrap();
            }
        }
        assert_eq!(w.number("SELECT count(*) FROM deliveries WHERE heard = 'failed'", []).await, 2);
    })
    .await;
}
