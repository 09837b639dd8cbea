//! What holds for every task: its help, its refusals, and what goes to which output.

use loco_rs::task::{Tasks, Vars};
use serde_json::json;

use super::{end_of, prepared, run};
use crate::support::world;

fn vars(given: &[(&str, &str)]) -> Vars {
    Vars::from_cli_args(given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
}

fn tasks() -> Tasks {
    let mut tasks = Tasks::default();
    ampout::tasks::register(&mut tasks);
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_ignores_a_word_that_it_does_not_know() {
    world(|w| async move {
        let tasks = tasks();
        assert!(tasks.names().len() >= 23, "{:?}", tasks.names());
        for name in tasks.names() {
            for (given, named) in [(("formt", "json"), "`formt`"), (("format", "xml"), "`format:xml`")] {
                let refused = tasks.run(&w.ctx, &name, &vars(&[given])).await.unwrap_err().to_string();
                assert!(refused.starts_with(&name), "{refused}");
                let expects = refused.contains("expected");
                // An argument that is missing may be named before one that is wrong.
                let named = refused.contains(named) || refused.contains("is missing");
                assert!(expects && named && !refused.contains('\n'), "{refused}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_one_line_on_standard_error_and_the_status_says_so() {
    world(|w| async move {
        for (words, line) in [
            (&["account_show"][..], "error: account_show: the argument `account` is missing, expected an account's id or email address"),
            (
                &["account_show", "account:", "format:json"],
                "error: account_show: the argument `account` is empty, expected an account's id or email address",
            ),
            (
                &["account_create", "email:nobody"],
                "error: account_create: the argument `email:nobody` is wrong, expected the owner's email address",
            ),
            (
                &["account_show", "account:nobody@example.com"],
                "error: not_found: no account has the id or address `nobody@example.com`",
            ),
            (&["acount_show"], "error: there is no task `acount_show`; `task` alone lists them"),
        ] {
            let ran = run(&w, words).await;
            assert_eq!(ran.refusal(), line);
            assert_eq!(ran.out, "", "{words:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standard_output_is_the_answer_alone_however_much_is_logged() {
    world(|w| async move {
        let task = prepared(&w, &["account_show", "account:alice@example.com", "format:json"]);
        let ran = end_of(&task.env("LOG_LEVEL", "debug").env("LOG_FORMAT", "json")).await;
        assert_eq!(ran.json()["email"], json!("alice@example.com"));
        assert_eq!(ran.out.lines().count(), 1);
        assert!(!ran.err.is_empty(), "logs go to standard error");
        let ran = run(&w, &["account_show", "account:alice@example.com"]).await;
        let lines: Vec<&str> = ran.out.lines().collect();
        assert!(lines[0].starts_with("id ") && lines[1].ends_with("alice@example.com"), "{}", ran.out);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn help_says_what_a_task_takes_and_does_nothing() {
    world(|w| async move {
        let ran = run(&w, &["account_erase", "account:alice@example.com", "help:yes"]).await;
        assert!(ran.well);
        for part in ["account_erase: ", "account:", "confirm:", "(needed)", "format:", "help:"] {
            assert!(ran.out.contains(part), "{}", ran.out);
        }
        w.alice.get("/account").await.assert_status_ok();
        let all = run(&w, &[]).await;
        for name in tasks().names() {
            assert!(all.out.lines().any(|line| line.starts_with(&name)), "{name} is not listed");
            // Whatever it needs, and whatever it would do.
            tasks().run(&w.ctx, &name, &vars(&[("help", "yes")])).await.unwrap();
        }
    })
    .await;
}
