//! Child processes, with the sink's own binary as the child.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use testkit::child::{Child, free_port};
use tokio::time::timeout;

use crate::client::{Client, SOON};

#[tokio::test]
async fn a_child_is_killed_and_started_again_in_the_same_directory() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
    let program = Child::builder(env!("CARGO_BIN_EXE_sink")).unwrap();
    let program = program.args(["--dir", "mails", "--listen"]).arg(address.to_string());
    let mut child = program.start().unwrap();
    child.wait_for_port(address, SOON).await.unwrap();
    assert_eq!(Client::connect(address).await.send("a@test").await.code(), 250);
    child.wait_for_file("mails/1.eml", SOON).await.unwrap();
    child.wait_for_output("-> <a@test> hello", SOON).await.unwrap();
    child.kill_9().await.unwrap();
    assert_eq!(child.wait(SOON).await.unwrap().signal(), Some(9));
    assert!(child.terminate().is_err());
    let mut again = program.start().unwrap();
    again.wait_for_port(address, SOON).await.unwrap();
    assert!(program.path("mails/1.eml").exists());
}

#[tokio::test]
async fn a_stopped_child_answers_nothing_until_it_runs_again() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
    let program =
        Child::builder(env!("CARGO_BIN_EXE_sink")).unwrap().arg("--listen").arg(address.to_string());
    let mut child = program.start().unwrap();
    child.wait_for_port(address, SOON).await.unwrap();
    let mut client = Client::connect(address).await;
    child.stop().await.unwrap();
    client.write("NOOP\r\n").await;
    assert!(timeout(Duration::from_millis(20), client.reply()).await.is_err());
    child.cont().unwrap();
    assert_eq!(client.reply().await.code(), 250);
    child.terminate().unwrap();
    assert!(child.wait(SOON).await.unwrap().success());
}

#[tokio::test]
async fn a_child_that_ends_early_is_told_with_its_output() {
    let program = Child::builder(env!("CARGO_BIN_EXE_sink")).unwrap().arg("--no-such-option");
    let mut child = program.start().unwrap();
    let error = child.wait_for_file("never", SOON).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert!(error.to_string().contains("--no-such-option"), "{error}");
}

#[tokio::test]
async fn the_counts_are_printed_when_the_expected_number_came() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
    let program = Child::builder(env!("CARGO_BIN_EXE_sink")).unwrap();
    let program = program.args(["--tally", "--expect", "2", "--listen"]).arg(address.to_string());
    let mut child = program.start().unwrap();
    child.wait_for_port(address, SOON).await.unwrap();
    let mut client = Client::connect(address).await;
    client.send("a@test").await;
    client.send("a@test").await;
    assert!(child.wait(SOON).await.unwrap().success());
    assert!(child.output().contains("messages=2 recipients=1 pairs=1"), "{}", child.output());
}
