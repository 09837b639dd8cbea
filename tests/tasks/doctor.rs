//! `doctor`: what is well, what is doubtful, what fails, and that it changes nothing.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value as Json;
use testkit::{
    child::free_port,
    sink::{Greeting, Sink, Tls},
};

use super::{Ran, end_of, prepared};
use crate::{
    faults::{engine_process, process},
    support::{campaign::DEADLINE, world},
};

fn finding(checks: &Json, name: &str) -> (String, String) {
    let check = checks.as_array().unwrap().iter().find(|it| it["check"] == name).unwrap();
    let text = |field: &str| check[field].as_str().unwrap().to_owned();
    (text("finding"), text("detail"))
}

fn found(ran: &Ran, name: &str) -> (String, String) {
    finding(&serde_json::from_str(&ran.out).unwrap(), name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_well_where_a_server_and_an_engine_run() {
    world(|w| async move {
        let port = free_port().unwrap();
        let mut server = process(&w).arg("start").env("PORT", port.to_string()).start().unwrap();
        let _engine = engine_process(&w).start().unwrap();
        server.wait_for_port(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), DEADLINE).await.unwrap();
        let doctor =
            prepared(&w, &["doctor", "format:json"]).env("PUBLIC_URL", format!("http://127.0.0.1:{port}"));
        let ran = testkit::wait::eventually(DEADLINE, || async {
            let ran = end_of(&doctor).await;
            (found(&ran, "engine").0 == "ok").then_some(ran)
        })
        .await
        .unwrap();
        assert!(ran.well, "{}{}", ran.out, ran.err);
        for name in [
            "configuration",
            "database",
            "migrations",
            "master key",
            "clock",
            "redis",
            "stripe",
            "system mail",
            "public url",
        ] {
            assert_eq!(found(&ran, name).0, "ok", "{}", ran.out);
        }
        assert!(found(&ran, "engine").1.ends_with("alive"), "{}", ran.out);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_trouble_is_named_and_the_status_counts_the_failures() {
    world(|w| async move {
        let port = free_port().unwrap();
        let doctor = prepared(&w, &["doctor", "format:json"])
            .env("PUBLIC_URL", format!("http://127.0.0.1:{port}"))
            .env("REDIS_URL", format!("redis://user:hunter2@127.0.0.1:{port}"))
            .env("MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        let ran = end_of(&doctor).await;
        assert_eq!(ran.refusal(), "error: doctor: 3 of 10 checks failed");
        assert_eq!(found(&ran, "public url").0, "fail");
        assert_eq!(found(&ran, "redis").0, "fail");
        let (finding, detail) = found(&ran, "master key");
        assert!(finding == "fail" && detail.contains("MASTER_KEY does not open"), "{detail}");
        assert_eq!(found(&ran, "engine").0, "warn");
        assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"));
        let text = end_of(&prepared(&w, &["doctor"])).await.out;
        assert!(text.lines().count() == 11 && text.starts_with("check "), "{text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_migrated_stays_so() {
    world(|w| async move {
        let doctor = prepared(&w, &["doctor", "format:json"]);
        let file = format!("sqlite://{}?mode=rwc", doctor.path("fresh.sqlite").display());
        let doctor = doctor.env("DATABASE_URL", file);
        for _ in 0..2 {
            let ran = end_of(&doctor).await;
            let (finding, detail) = found(&ran, "migrations");
            assert!(finding == "warn" && detail.contains("to be run"), "{detail}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_for_system_mail_is_logged_in_to_and_handed_no_mail() {
    world(|w| async move {
        let plain = Sink::builder().auth("user", "secret").start().await.unwrap();
        let safe = Sink::builder().tls(Tls::StartTls).auth("user", "secret").start().await.unwrap();
        let busy = Sink::builder().greeting(Greeting::busy()).start().await.unwrap();
        let doctor = prepared(&w, &["doctor", "format:json"]).env("SYSTEM_MAIL_FROM", "no-reply@ampout.test");
        let authority = doctor.path("authority.pem");
        std::fs::write(&authority, safe.ca_pem().unwrap()).unwrap();
        let nobody = free_port().unwrap();
        for (login, port, trusted, expected) in [
            ("user:secret@", plain.port(), false, ("ok", "it answers, and takes the login")),
            ("", plain.port(), false, ("ok", "it answers")),
            ("user:hunter2@", plain.port(), false, ("fail", "the relay cannot be used: ")),
            ("user:secret@", safe.port(), true, ("ok", "it answers, and takes the login")),
            ("user:secret@", safe.port(), false, ("fail", "the relay cannot be used: ")),
            ("", busy.port(), false, ("fail", "the relay cannot be used: ")),
            ("", nobody, false, ("fail", "the relay cannot be used: ")),
        ] {
            let task = doctor.clone().env("SYSTEM_SMTP_URL", format!("smtp://{login}127.0.0.1:{port}"));
            let task = if trusted { task.env("SSL_CERT_FILE", &authority) } else { task };
            let ran = end_of(&task).await;
            let (finding, detail) = found(&ran, "system mail");
            assert!(finding == expected.0 && detail.starts_with(expected.1), "{login}{port}: {detail}");
            assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"));
        }
        for sink in [&plain, &safe, &busy] {
            assert_eq!((sink.count(), sink.command_count("MAIL")), (0, 0));
        }
        assert!(plain.command_count("AUTH") == 2 && safe.command_count("AUTH") == 1);
    })
    .await;
}
