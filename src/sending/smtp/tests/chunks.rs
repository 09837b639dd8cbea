//! Messages that go out as one chunk (RFC 3030). What came of one is told as behind DATA: its last byte is the final dot.

use rstest::rstest;
use testkit::sink::{Chunking, Sink, Tls};
use tokio::io::AsyncReadExt as _;

use super::{
    script::{
        ENVELOPE, NEXT, Server,
        Step::{self, Hear, Say},
        endpoint, open, play_on, timeouts,
    },
    sending::{OFFER, kind, script},
    sink::dialer,
};
use crate::sending::smtp::message::LAST_PIECE;
use crate::sending::smtp::{Broken, DataOutcome, Envelope, Phase, SmtpConnection};

const HELLO: [Step; 3] = [
    Say("220 hi\r\n"),
    Hear("EHLO [127.0.0.1]\r\n"),
    Say("250-x\r\n250-CHUNKING\r\n250-SIZE 1000\r\n250 PIPELINING\r\n"),
];
const CHUNK: [Step; 1] = [Hear("BDAT 7 LAST\r\nhello\r\n")];

/// What comes of a message, and whether the connection can be used again.
async fn send(steps: &[Step]) -> (DataOutcome, bool) {
    let server = Server::start().await;
    let client = async {
        let mut connection = open(server.port(), &timeouts()).await.unwrap();
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        let outcome = connection.data(offered, b"hello", None, &|| true).await;
        (outcome, connection.is_usable())
    };
    tokio::join!(client, server.play(steps)).0
}

#[rstest]
#[case(&[Say("250 2.0.0 ok\r\n")], "accepted", true)]
#[case(&[Say("451 later\r\n")], "deferred", true)]
#[case(&[Say("421 bye\r\n")], "deferred", false)]
#[case(&[Say("554 5.6.0 no\r\n")], "refused", true)]
#[case(&[Say("500 5.7.1 spam\r\n")], "refused", true)]
#[case(&[Say("502 what is that\r\n")], "not sent", false)]
#[case(&[Say("503 5.5.1 DATA, please\r\n")], "not sent", false)]
#[case(&[Say("502 5.3.3 Command not implemented\r\n")], "not sent", false)]
#[case(&[Say("500 5.0.0 what is that\r\n")], "not sent", false)]
#[case(&[Say("500 5.1.1 nobody\r\n")], "refused", true)]
#[case(&[Say("221 2.0.0 idle for too long\r\n")], "unknown", false)]
#[case(&[], "unknown", false)]
#[case(&[Say("25")], "unknown", false)]
#[case(&[Say("354 more\r\n")], "unknown", false)]
#[tokio::test]
async fn behind_a_chunk_only_a_reply_decides(
    #[case] steps: &[Step],
    #[case] expected: &str,
    #[case] usable_after: bool,
) {
    let (outcome, usable) = send(&script(&[&HELLO, &OFFER, &CHUNK, steps])).await;
    assert_eq!((kind(&outcome), usable), (expected, usable_after), "{outcome:?}");
    if expected == "not sent" {
        assert_eq!(outcome, DataOutcome::NotSent(Broken::NoChunks));
    }
}

#[tokio::test]
async fn a_process_that_lost_its_place_writes_no_chunk() {
    let server = Server::start().await;
    let client = async {
        let mut connection = open(server.port(), &timeouts()).await.unwrap();
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        (connection.data(offered, b"hello", None, &|| false).await, connection.is_usable())
    };
    let serving = async {
        let mut stream = server.accept().await;
        play_on(&mut stream, &script(&[&HELLO, &OFFER])).await;
        stream
    };
    let (ended, mut stream) = tokio::join!(client, serving);
    assert_eq!(ended, (DataOutcome::NotSent(Broken::NotAlive), false));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}

#[rstest]
#[case::with_a_word("421 4.4.2 idle for too long\r\n", "deferred at DATA")]
#[case::without_one("", "not sent")]
#[tokio::test]
async fn a_server_that_left_before_the_chunk_was_sent_nothing(
    #[case] word: &'static str,
    #[case] expected: &str,
) {
    let server = Server::start().await;
    let (tell, was_offered) = tokio::sync::oneshot::channel();
    let port = server.port();
    let client = async move {
        let mut connection = open(port, &timeouts()).await.unwrap();
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        tell.send(()).unwrap();
        // What it said last is here now, or its end.
        let come = connection.wire.tcp().peek(&mut [0; 1]).await.unwrap();
        assert_eq!(come, word.len().min(1));
        connection.data(offered, b"hello", None, &|| true).await
    };
    // Once the recipient is accepted: with the replies it would be read with them.
    let leaving = async {
        let mut stream = server.accept().await;
        play_on(&mut stream, &script(&[&HELLO, &OFFER])).await;
        was_offered.await.unwrap();
        play_on(&mut stream, &[Say(word)]).await;
    };
    let (outcome, ()) = tokio::join!(client, leaving);
    assert_eq!(kind(&outcome), expected, "{outcome:?}");
}

/// What comes of a message and the next, which is offered behind it or after it.
async fn send_two(steps: &[Step], ahead: bool) -> (&'static str, &'static str) {
    let server = Server::start().await;
    let client = async {
        let mut connection = open(server.port(), &timeouts()).await.unwrap();
        let first = connection.offer(&ENVELOPE).await.unwrap();
        let one = connection.data(first, b"hello", ahead.then_some(&NEXT), &|| true).await;
        let second = connection.offer(&NEXT).await.unwrap();
        let two = connection.data(second, b".a\n", None, &|| true).await;
        (kind(&one), kind(&two))
    };
    tokio::join!(client, server.play(steps)).0
}

#[tokio::test]
async fn the_next_message_is_offered_behind_the_chunk() {
    let steps = script(&[
        &HELLO,
        &OFFER,
        &[
            Hear("BDAT 7 LAST\r\nhello\r\nMAIL FROM:<a@x.test> SIZE=6\r\nRCPT TO:<c@y.test>\r\n"),
            Say("250 ok\r\n250 ok\r\n250 ok\r\n"),
            Hear("BDAT 4 LAST\r\n.a\r\n"),
            Say("250 ok\r\n"),
        ],
    ]);
    assert_eq!(send_two(&steps, true).await, ("accepted", "accepted"));
}

#[tokio::test]
async fn a_refused_chunk_leaves_nothing_of_its_transaction_behind() {
    let steps = script(&[
        &HELLO,
        &OFFER,
        &CHUNK,
        &[
            Say("451 later\r\n"),
            Hear("RSET\r\nMAIL FROM:<a@x.test> SIZE=6\r\nRCPT TO:<c@y.test>\r\n"),
            Say("250 ok\r\n250 ok\r\n250 ok\r\n"),
            Hear("BDAT 4 LAST\r\n.a\r\n"),
            Say("250 ok\r\n"),
        ],
    ]);
    assert_eq!(send_two(&steps, false).await, ("deferred", "accepted"));
}

/// What is larger, or has a lone dot, goes out in pieces, with a last look before its dot; and who is told so sends none.
#[tokio::test]
async fn a_large_message_goes_out_behind_data_and_so_does_each_where_chunks_are_not_wanted() {
    let sink = Sink::builder().chunking(Chunking::Offered).start().await.unwrap();
    let mut connection =
        SmtpConnection::open(&dialer(&sink, true), &endpoint(sink.port()), &timeouts()).await.unwrap();
    let of_size = |bytes: usize| format!("Subject: x\r\n\r\n{}\r\n", ".".repeat(bytes - 16));
    let (large, largest) = (of_size(LAST_PIECE + 1), of_size(LAST_PIECE));
    let (small, lone) = ("Subject: x\r\n\r\n.a\r\n..\r\n", "Subject: x\r\n\r\n.\r\n");
    for (text, chunks) in
        [(large.as_str(), true), (&largest, true), (small, true), (lone, true), (small, false)]
    {
        if !chunks {
            connection.without_chunks();
        }
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        let outcome = connection.data(offered, text.as_bytes(), None, &|| true).await;
        assert!(matches!(outcome, DataOutcome::Accepted(_)), "{outcome:?}");
    }
    connection.quit().await;
    let commands: Vec<String> = sink.commands().into_iter().map(|command| command.line).collect();
    let bodies: Vec<&str> = commands
        .iter()
        .map(String::as_str)
        .filter(|line| line.starts_with("BDAT") || *line == "DATA")
        .collect();
    let longest = format!("BDAT {LAST_PIECE} LAST");
    assert_eq!(bodies, ["DATA", &longest, "BDAT 22 LAST", "DATA", "DATA"]);
    let arrived: Vec<_> = sink.messages().into_iter().map(|message| message.raw).collect();
    assert_eq!(
        arrived,
        [large.as_bytes(), largest.as_bytes(), small.as_bytes(), lone.as_bytes(), small.as_bytes()]
    );
}

#[tokio::test]
async fn chunks_arrive_byte_for_byte_over_tls_and_each_misbehaviour_has_its_outcome() {
    let builder = Sink::builder().tls(Tls::StartTls).auth("me", "secret").chunking(Chunking::Offered);
    let sink = builder.start().await.unwrap();
    for (to, expected) in [
        ("ok@x.test", "accepted"),
        ("reject-data-554@x.test", "refused"),
        ("defer-data-451@x.test", "deferred"),
        ("close-at-data@x.test", "unknown"),
        ("close-after-dot@x.test", "unknown"),
        ("garbage-after-dot@x.test", "unknown"),
    ] {
        let mut connection =
            SmtpConnection::open(&dialer(&sink, false), &endpoint(sink.port()), &timeouts()).await.unwrap();
        let offered = connection.offer(&Envelope { to, ..ENVELOPE }).await.unwrap();
        let outcome = connection.data(offered, b"a: b\r\n\r\n.c\r\n", None, &|| true).await;
        assert_eq!(kind(&outcome), expected, "{to}: {outcome:?}");
        if let DataOutcome::Refused { phase, .. } = outcome {
            assert_eq!(phase, Phase::Dot);
        }
    }
    let arrived: Vec<_> = sink.messages_to("ok@x.test").into_iter().map(|message| message.raw).collect();
    assert_eq!(arrived, [b"a: b\r\n\r\n.c\r\n".as_slice()]);
}

#[tokio::test]
async fn a_server_that_keeps_the_transaction_of_a_refused_chunk_is_reset_and_asked_again() {
    let steps = script(&[
        &HELLO,
        &OFFER,
        &[
            Hear("BDAT 7 LAST\r\nhello\r\nMAIL FROM:<a@x.test> SIZE=6\r\nRCPT TO:<c@y.test>\r\n"),
            Say("451 later\r\n503 5.5.1 nested\r\n250 ok\r\n"),
            Hear("RSET\r\nMAIL FROM:<a@x.test> SIZE=6\r\nRCPT TO:<c@y.test>\r\n"),
            Say("250 ok\r\n250 ok\r\n250 ok\r\n"),
            Hear("BDAT 4 LAST\r\n.a\r\n"),
            Say("250 ok\r\n"),
        ],
    ]);
    assert_eq!(send_two(&steps, true).await, ("deferred", "accepted"));
}
