//! Commands that go out before the server answered those before them, where it allows that (RFC 2920), and messages as one
//! chunk (RFC 3030). DATA and BDAT never do: they wait for their mark.

use rstest::rstest;
use testkit::sink::{Chunking, Command, Sink};

use crate::support::{campaign::*, world_with};

const PEOPLE: usize = 6;

/// What a server was asked to take, one campaign long, over as many connections.
async fn commands_to(sink: Sink, chunking: bool, connections: usize) -> Vec<Command> {
    let mut commands = vec![];
    let kept = &mut commands;
    world_with(&[("SMTP_CHUNKING", chunking.to_string())], |w| async move {
        let engine = Engine::start(&w.ctx);
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        until_status(&w.alice, &id, "completed").await;
        engine.stop().await;
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
        assert_eq!(sink.connections().len(), connections);
        kept.extend(sink.commands());
    })
    .await;
    commands
}

fn ahead(commands: &[Command], verb: &str) -> Vec<bool> {
    commands.iter().filter(|command| command.is(verb)).map(|command| command.ahead).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_commands_ahead_gets_the_next_message_offered_with_the_last_dot() {
    let commands = commands_to(Sink::start().await.unwrap(), true, 1).await;
    let offered: Vec<bool> = (0..PEOPLE).map(|nth| nth > 0).collect();
    assert_eq!(ahead(&commands, "MAIL"), offered, "{commands:?}");
    assert_eq!(ahead(&commands, "RCPT"), [true; PEOPLE], "{commands:?}");
    assert_eq!(ahead(&commands, "DATA"), [false; PEOPLE], "{commands:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_is_asked_in_turn() {
    let commands = commands_to(Sink::builder().without_pipelining().start().await.unwrap(), true, 1).await;
    for verb in ["MAIL", "RCPT", "DATA"] {
        assert_eq!(ahead(&commands, verb), [false; PEOPLE], "{commands:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_chunks_gets_each_message_as_one_with_the_next_offered_behind_it() {
    let sink = Sink::builder().chunking(Chunking::Offered).start().await.unwrap();
    let commands = commands_to(sink, true, 1).await;
    let offered: Vec<bool> = (0..PEOPLE).map(|nth| nth > 0).collect();
    assert_eq!(ahead(&commands, "MAIL"), offered, "{commands:?}");
    assert_eq!(ahead(&commands, "BDAT"), [false; PEOPLE], "{commands:?}");
    assert!(ahead(&commands, "DATA").is_empty(), "{commands:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_goes_out_as_a_chunk_where_that_is_off() {
    let sink = Sink::builder().chunking(Chunking::Offered).start().await.unwrap();
    let commands = commands_to(sink, false, 1).await;
    assert_eq!(ahead(&commands, "DATA"), [false; PEOPLE], "{commands:?}");
    assert!(ahead(&commands, "BDAT").is_empty(), "{commands:?}");
}

/// What it makes of the bytes behind a command that it does not know is its own affair, and its first refusal says nothing of
/// the message: it is asked once, and gets the same message behind DATA, on another connection where it knew no command.
#[rstest]
#[case::does_not_know_the_command(Chunking::Promised, 2)]
#[case::puts_off_each(Chunking::PutOff, 1)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_offers_chunks_and_takes_none_gets_its_messages_behind_data(
    #[case] chunking: Chunking,
    #[case] connections: usize,
) {
    let sink = Sink::builder().chunking(chunking).start().await.unwrap();
    let commands = commands_to(sink, true, connections).await;
    assert_eq!(ahead(&commands, "BDAT").len(), 1, "{commands:?}");
    assert_eq!(ahead(&commands, "DATA"), [false; PEOPLE], "{commands:?}");
}
