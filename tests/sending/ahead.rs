//! Commands that go out before the server answered those before them, where it allows that (RFC 2920). DATA never does:
//! it waits for its mark.

use testkit::sink::{Command, Sink};

use crate::support::{campaign::*, world};

const PEOPLE: usize = 6;

/// What a server was asked to take over one connection, one campaign long.
async fn commands_to(sink: Sink) -> Vec<Command> {
    let mut commands = vec![];
    let kept = &mut commands;
    world(|w| async move {
        let engine = Engine::start(&w.ctx);
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        until_status(&w.alice, &id, "completed").await;
        engine.stop().await;
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
        assert_eq!(sink.connections().len(), 1);
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
    let commands = commands_to(Sink::start().await.unwrap()).await;
    let offered: Vec<bool> = (0..PEOPLE).map(|nth| nth > 0).collect();
    assert_eq!(ahead(&commands, "MAIL"), offered, "{commands:?}");
    assert_eq!(ahead(&commands, "RCPT"), [true; PEOPLE], "{commands:?}");
    assert_eq!(ahead(&commands, "DATA"), [false; PEOPLE], "{commands:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_is_asked_in_turn() {
    let commands = commands_to(Sink::builder().without_pipelining().start().await.unwrap()).await;
    for verb in ["MAIL", "RCPT", "DATA"] {
        assert_eq!(ahead(&commands, verb), [false; PEOPLE], "{commands:?}");
    }
}
