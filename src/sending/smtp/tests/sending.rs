//! MAIL to the final reply. What came of a message is told by the phase reached.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rstest::rstest;
use tokio::time::Instant;

use super::script::Step::{self, Hear, Say};
use super::script::{ENVELOPE, NEXT, Server, open, play_on, timeouts};
use crate::sending::smtp::{
    Broken, DataOutcome, Envelope, OfferError, OwnedEnvelope, Phase, Reply, SmtpConnection, Timeouts, Trouble,
};

pub(super) const HELLO: [Step; 3] =
    [Say("220 hi\r\n"), Hear("EHLO [127.0.0.1]\r\n"), Say("250-x\r\n250-SIZE 1000\r\n250 PIPELINING\r\n")];
pub(super) const OFFER: [Step; 2] =
    [Hear("MAIL FROM:<a@x.test> SIZE=5\r\nRCPT TO:<b@y.test>\r\n"), Say("250 ok\r\n250 ok\r\n")];
pub(super) const GO: [Step; 3] = [Hear("DATA\r\n"), Say("354 go\r\n"), Hear("hello\r\n")];

pub(super) fn script(parts: &[&[Step]]) -> Vec<Step> {
    parts.concat()
}

/// The outcome of one message, what came after the script, and the connection.
async fn send(steps: &[Step], alive: usize, timeouts: Timeouts) -> (DataOutcome, String, bool) {
    send_text(steps, b"hello", alive, timeouts).await
}

async fn send_text(
    steps: &[Step],
    text: &[u8],
    alive: usize,
    timeouts: Timeouts,
) -> (DataOutcome, String, bool) {
    let server = Server::start().await;
    let asked = AtomicUsize::new(0);
    let client = async {
        let mut connection = open(server.port(), &timeouts).await.unwrap();
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        let alive = || asked.fetch_add(1, Ordering::Relaxed) < alive;
        let outcome = connection.data(offered, text, None, &alive).await;
        (outcome, connection.is_usable())
    };
    let ((outcome, usable), rest) = tokio::join!(client, server.play(steps));
    (outcome, rest, usable)
}

pub(super) fn kind(outcome: &DataOutcome) -> &'static str {
    match outcome {
        DataOutcome::Accepted(_) => "accepted",
        DataOutcome::Deferred { phase: Phase::Data, .. } => "deferred at DATA",
        DataOutcome::Deferred { .. } => "deferred",
        DataOutcome::Refused { phase: Phase::Data, .. } => "refused at DATA",
        DataOutcome::Refused { .. } => "refused",
        DataOutcome::NotSent(_) => "not sent",
        DataOutcome::Unknown(_) => "unknown",
    }
}

#[rstest]
#[case(&[], "not sent", false)]
#[case(&[Hear("DATA\r\n")], "not sent", false)]
#[case(&[Hear("DATA\r\n"), Say("250 what\r\n")], "not sent", false)]
#[case(&[Hear("DATA\r\n"), Say("garbage\r\n")], "not sent", false)]
#[case(&[Hear("DATA\r\n"), Say("354 go\r\n250 too early\r\n")], "not sent", false)]
#[case(&[Hear("DATA\r\n"), Say("451 later\r\n")], "deferred at DATA", true)]
#[case(&[Hear("DATA\r\n"), Say("421 bye\r\n")], "deferred at DATA", false)]
#[case(&[Hear("DATA\r\n"), Say("554 no\r\n")], "refused at DATA", true)]
#[tokio::test]
async fn before_the_final_dot_nothing_is_uncertain(
    #[case] steps: &[Step],
    #[case] expected: &str,
    #[case] usable_after: bool,
) {
    let (outcome, rest, usable) = send(&script(&[&HELLO, &OFFER, steps]), 9, timeouts()).await;
    assert_eq!((kind(&outcome), usable), (expected, usable_after), "{outcome:?}");
    assert!(!rest.contains("\r\n.\r\n"), "{rest:?}");
}

#[rstest]
#[case(&[Say("250 2.0.0 ok\r\n")], "accepted", true)]
#[case(&[Say("250-2.0.0 ok\r\n250 queued as 1\r\n")], "accepted", true)]
#[case(&[Say("451 later\r\n")], "deferred", true)]
#[case(&[Say("421 bye\r\n")], "deferred", false)]
#[case(&[Say("554 5.6.0 no\r\n")], "refused", true)]
#[case(&[], "unknown", false)]
#[case(&[Say("25")], "unknown", false)]
#[case(&[Say("250-ok\r\n")], "unknown", false)]
#[case(&[Say("250-ok\r\n251 ok\r\n")], "unknown", false)]
#[case(&[Say("\u{0}\u{1}garbage\r\n")], "unknown", false)]
#[case(&[Say("221 2.0.0 bye\r\n")], "unknown", false)]
#[case(&[Say("354 more\r\n")], "unknown", false)]
#[tokio::test]
async fn after_the_final_dot_only_a_reply_decides(
    #[case] steps: &[Step],
    #[case] expected: &str,
    #[case] usable_after: bool,
) {
    let steps = script(&[&HELLO, &OFFER, &GO, &[Hear(".\r\n")], steps]);
    let (outcome, _, usable) = send(&steps, 9, timeouts()).await;
    assert_eq!((kind(&outcome), usable), (expected, usable_after), "{outcome:?}");
}

#[tokio::test]
async fn a_process_that_lost_its_place_writes_neither_data_nor_the_dot() {
    let (outcome, rest, usable) = send(&script(&[&HELLO, &OFFER]), 0, timeouts()).await;
    assert_eq!((outcome, rest.as_str(), usable), (DataOutcome::NotSent(Broken::NotAlive), "", false));
    // A message that goes out with its dot stays with it; of a large one that is under way already, the dot stays.
    let steps = script(&[&HELLO, &OFFER, &[Hear("DATA\r\n"), Say("354 go\r\n")]]);
    let (outcome, rest, usable) = send(&steps, 1, timeouts()).await;
    assert_eq!((outcome, rest.as_str(), usable), (DataOutcome::NotSent(Broken::NotAlive), "", false));
    let large = "a line of it\r\n".repeat(2_000);
    let (outcome, rest, usable) = send_text(&steps, large.as_bytes(), 1, timeouts()).await;
    assert_eq!((outcome, usable), (DataOutcome::NotSent(Broken::NotAlive), false));
    assert_eq!(rest, large);
}

#[tokio::test]
async fn a_server_silent_after_the_dot_leaves_the_message_unknown() {
    let server = Server::start().await;
    let short = Timeouts { final_reply: Duration::from_millis(20), ..timeouts() };
    let client = async {
        let mut connection = open(server.port(), &short).await.unwrap();
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        connection.data(offered, b"hello", None, &|| true).await
    };
    let silent = async {
        let mut stream = server.accept().await;
        play_on(&mut stream, &script(&[&HELLO, &OFFER, &GO, &[Hear(".\r\n")]])).await;
        stream
    };
    let (outcome, _held) = tokio::join!(client, silent);
    assert_eq!(outcome, DataOutcome::Unknown(Broken::Timeout));
}

async fn converse<T, F, Fut>(steps: &[Step], client: F) -> (T, String)
where
    F: FnOnce(SmtpConnection) -> Fut,
    Fut: Future<Output = T>,
{
    let server = Server::start().await;
    let timeouts = timeouts();
    let client = async { client(open(server.port(), &timeouts).await.unwrap()).await };
    tokio::join!(client, server.play(steps))
}

#[tokio::test]
async fn the_next_envelope_goes_out_behind_the_dot() {
    let dot_and_next = Hear(".\r\nMAIL FROM:<a@x.test> SIZE=6\r\nRCPT TO:<c@y.test>\r\n");
    let tail =
        [dot_and_next, Say("250 ok\r\n250 ok\r\n"), Say("250 ok\r\n"), Hear("DATA\r\n"), Say("354\r\n")];
    let end = [Hear("hello!\r\n.\r\n"), Say("250 two\r\n"), Hear("QUIT\r\n"), Say("221 bye\r\n")];
    let (outcomes, rest) = converse(&script(&[&HELLO, &OFFER, &GO, &tail, &end]), async |mut connection| {
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        let first = connection.data(offered, b"hello", Some(&NEXT), &|| true).await;
        let offered = connection.offer(&NEXT).await.unwrap();
        let second = connection.data(offered, b"hello!", None, &|| true).await;
        assert_eq!(connection.served(), 2);
        connection.quit().await;
        [kind(&first), kind(&second)]
    })
    .await;
    assert_eq!((outcomes, rest.as_str()), (["accepted", "accepted"], ""));
}

#[tokio::test]
async fn an_envelope_sent_ahead_and_not_wanted_is_reset() {
    let dot_and_next = Hear(".\r\nMAIL FROM:<a@x.test> SIZE=6\r\nRCPT TO:<c@y.test>\r\n");
    let tail = [dot_and_next, Say("250 ok\r\n250 ok\r\n250 ok\r\n")];
    let other = [
        Hear("RSET\r\nMAIL FROM:<a@x.test> SIZE=5\r\nRCPT TO:<b@y.test>\r\n"),
        Say("250 ok\r\n250 ok\r\n550 5.1.1 no\r\n"),
        Hear("RSET\r\n"),
        Say("250 ok\r\n"),
    ];
    let (refused, _) = converse(&script(&[&HELLO, &OFFER, &GO, &tail, &other]), async |mut connection| {
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        let first = connection.data(offered, b"hello", Some(&NEXT), &|| true).await;
        assert_eq!(kind(&first), "accepted");
        let refused = connection.offer(&ENVELOPE).await.unwrap_err();
        connection.reset().await.unwrap();
        refused
    })
    .await;
    assert_eq!(refused.reply().map(Reply::code), Some(550));
}

#[tokio::test]
async fn goodbye_to_a_recipient_accepts_nobody() {
    let goodbye = [OFFER[0], Say("250 ok\r\n221 2.0.0 bye\r\n")];
    let (ended, _) = converse(&script(&[&HELLO, &goodbye]), async |mut connection| {
        (connection.offer(&ENVELOPE).await.unwrap_err(), connection.is_usable())
    })
    .await;
    assert_eq!(ended, (OfferError::Broken(Broken::Closed), false));
}

#[rstest]
#[case("250 ok\r\n550 5.1.1 no\r\n", Phase::Rcpt, true)]
#[case("550 5.7.1 no\r\n503 MAIL first\r\n", Phase::Mail, true)]
#[case("250 ok\r\n421 bye\r\n", Phase::Rcpt, false)]
#[case("421 idle\r\n", Phase::Mail, false)]
#[tokio::test]
async fn a_refused_offer_is_blamed_on_its_command(
    #[case] replies: &'static str,
    #[case] expected: Phase,
    #[case] usable_after: bool,
) {
    let [offer, _] = OFFER;
    let ((error, usable), _) =
        converse(&script(&[&HELLO, &[offer, Say(replies)]]), async |mut connection| {
            let error = connection.offer(&ENVELOPE).await.unwrap_err();
            (error, connection.is_usable())
        })
        .await;
    assert!(matches!(error, OfferError::Refused { phase, .. } if phase == expected), "{error:?}");
    assert_eq!(usable, usable_after);
}

#[tokio::test]
async fn a_server_without_pipelining_is_asked_in_turn() {
    let steps = [
        Say("220 hi\r\n"),
        Hear("EHLO [127.0.0.1]\r\n"),
        Say("250 x\r\n"),
        Hear("MAIL FROM:<a@x.test>\r\n"),
        Say("250 ok\r\n"),
        Hear("RCPT TO:<b@y.test>\r\n"),
        Say("450 later\r\n"),
        Hear("RSET\r\n"),
        Say("250 ok\r\n"),
        Hear("MAIL FROM:<a@x.test>\r\n"),
        Say("250 ok\r\n"),
        Hear("RCPT TO:<c@y.test>\r\n"),
        Say("250 ok\r\n"),
        Hear("DATA\r\n"),
        Say("354 go\r\n"),
        Hear("hello\r\n.\r\n"),
        Say("250 ok\r\n"),
    ];
    let (outcome, rest) = converse(&steps, async |mut connection| {
        assert_eq!(connection.offer(&ENVELOPE).await.unwrap_err().reply().map(Reply::code), Some(450));
        let offered = connection.offer(&NEXT).await.unwrap();
        connection.data(offered, b"hello", Some(&ENVELOPE), &|| true).await
    })
    .await;
    assert_eq!((kind(&outcome), rest.as_str()), ("accepted", ""));
}

/// Its replies to MAIL and RCPT would be taken for those to the next.
#[rstest]
#[case("502 5.5.2 what\r\n250 ok\r\n250 ok\r\n", false)]
#[case("421 4.3.2 bye\r\n", true)]
#[tokio::test]
async fn a_refused_reset_ends_the_connection(#[case] replies: &'static str, #[case] sent_away: bool) {
    let [offer, _] = OFFER;
    let again = [
        Say("250 ok\r\n550 5.1.1 no\r\n"),
        Hear("RSET\r\nMAIL FROM:<a@x.test> SIZE=6\r\nRCPT TO:<c@y.test>\r\n"),
        Say(replies),
    ];
    let ((error, usable), _) = converse(&script(&[&HELLO, &[offer], &again]), async |mut connection| {
        assert_eq!(connection.offer(&ENVELOPE).await.unwrap_err().reply().map(Reply::code), Some(550));
        let error = connection.offer(&NEXT).await.unwrap_err();
        (error, connection.is_usable())
    })
    .await;
    assert_eq!((error.reply().is_some(), usable), (sent_away, false), "{error:?}");
    assert_eq!(error.trouble(), Trouble::Connection);
}

#[rstest]
#[case("a@x.test>\r\nRCPT TO:<evil@y.test", "b@y.test")]
#[case("a@x.test", "b@y.test\r\nDATA")]
#[case("a@x.test", "b> SIZE=1")]
#[case("a@x.test", "")]
#[case("a@x.test", "b\u{e9}@y.test")]
#[tokio::test]
async fn an_address_cannot_leave_its_brackets(#[case] from: &'static str, #[case] to: &'static str) {
    let (error, rest) = converse(&HELLO, async |mut connection| {
        connection.offer(&Envelope { from, to, size: 1 }).await.unwrap_err()
    })
    .await;
    assert_eq!((error, rest.as_str()), (OfferError::BadAddress, ""));
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_nobodys_fault() {
    let (error, _) =
        converse(&HELLO, async |mut connection| connection.offer(&ENVELOPE).await.unwrap_err()).await;
    assert_eq!(error.trouble(), Trouble::Connection);
}

#[test]
fn an_envelope_is_another_one_if_any_of_it_differs() {
    let ahead = OwnedEnvelope::from(&NEXT);
    assert!(ahead.is(&NEXT));
    for other in [
        Envelope { from: "z@x.test", ..NEXT },
        Envelope { to: "z@y.test", ..NEXT },
        Envelope { size: 7, ..NEXT },
    ] {
        assert!(!ahead.is(&other), "{other:?}");
    }
}

#[tokio::test]
async fn a_recipient_that_was_offered_before_another_gets_nothing() {
    let (outcome, rest) = converse(&script(&[&HELLO, &OFFER, &OFFER]), async |mut connection| {
        let stale = connection.offer(&ENVELOPE).await.unwrap();
        let _newer = connection.offer(&ENVELOPE).await.unwrap();
        connection.data(stale, b"hello", None, &|| true).await
    })
    .await;
    assert_eq!((outcome, rest.as_str()), (DataOutcome::NotSent(Broken::Protocol), ""));
}

#[tokio::test]
async fn where_the_server_takes_its_leave_of_what_went_ahead_nothing_more_is_asked() {
    let tail = [
        Hear(".\r\nMAIL FROM:<a@x.test> SIZE=6\r\nRCPT TO:<c@y.test>\r\n"),
        Say("250 ok\r\n421 too many\r\n"),
    ];
    let (error, rest) = converse(&script(&[&HELLO, &OFFER, &GO, &tail]), async |mut connection| {
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        let first = connection.data(offered, b"hello", Some(&NEXT), &|| true).await;
        assert_eq!(kind(&first), "accepted");
        let error = connection.offer(&ENVELOPE).await.unwrap_err();
        assert!(!connection.is_usable());
        error
    })
    .await;
    assert_eq!((error.reply().map(Reply::code), rest.as_str()), (Some(421), ""));
}

#[rstest]
#[case(&[Hear("RSET\r\n"), Say("250 ok\r\n")], true)]
#[case(&[Hear("RSET\r\n"), Say("451 later\r\n")], false)]
#[case(&[Hear("RSET\r\n")], false)]
#[tokio::test]
async fn a_connection_that_was_not_reset_is_not_used_again(#[case] steps: &[Step], #[case] done: bool) {
    let ((reset, usable), _) = converse(&script(&[&HELLO, &OFFER, steps]), async |mut connection| {
        let _offered = connection.offer(&ENVELOPE).await.unwrap();
        (connection.reset().await.is_ok(), connection.is_usable())
    })
    .await;
    assert_eq!((reset, usable), (done, done));
}

/// What is left of the time in which a connection is opened is the first message's.
#[tokio::test]
async fn the_first_message_shares_the_time_of_the_opening() {
    let server = Server::start().await;
    let timeouts = timeouts();
    let client = async {
        let mut connection = open(server.port(), &timeouts).await.unwrap();
        connection.first_until = Some(Instant::now() + Duration::from_millis(20));
        let began = Instant::now();
        (connection.offer(&ENVELOPE).await.unwrap_err(), began.elapsed())
    };
    let silent = async {
        let mut stream = server.accept().await;
        play_on(&mut stream, &HELLO).await;
        stream
    };
    let ((error, took), _held) = tokio::join!(client, silent);
    assert_eq!(error, OfferError::Broken(Broken::Timeout));
    assert!(took < timeouts.before_data / 2, "{took:?}");
}
