//! Against Postfix and Dovecot, which `.ci/mail` starts; run by it alone.

use std::{env, fs, path::PathBuf, time::Duration};

use serde_json::{Value as Json, json};
use testkit::wait::eventually;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{fixture, hurry, until};
use crate::support::{World, campaign::*, world};

const SENDER: &str = "one@sender.test";
/// Who answers, who does not exist, whose machine answers, and who is silent.
const PEOPLE: [&str; 4] =
    ["ada@example.test", "nobody@example.test", "carol@example.test", "dan@example.test"];

fn port(name: &str) -> u16 {
    env::var(name).unwrap().parse().unwrap()
}

/// The files of a mailbox.
fn mails(owner: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env::var("REAL_MAIL_DIR").unwrap()).join(owner);
    let read =
        |part: &str| fs::read_dir(folder.join(part)).map(|dir| dir.map(|one| one.unwrap().path()).collect());
    ["new", "cur"].iter().flat_map(|part| read(part).unwrap_or_else(|_| vec![])).collect()
}

/// Hands a mail to the relay, as its writer's program would.
async fn post(from: &str, to: &str, mail: &[u8]) {
    let stream = TcpStream::connect(("127.0.0.1", port("REAL_SMTP_PORT"))).await.unwrap();
    let mut io = BufReader::new(stream);
    let from = format!("MAIL FROM:<{from}>\r\n");
    let to = format!("RCPT TO:<{to}>\r\n");
    let body = [mail, b"\r\n.\r\n"].concat();
    let turns: [(&[u8], &str); 6] = [
        (b"", "220"),
        (b"HELO mail.example.test\r\n", "250"),
        (from.as_bytes(), "250"),
        (to.as_bytes(), "250"),
        (b"DATA\r\n", "354"),
        (&body, "250"),
    ];
    for (said, expected) in turns {
        io.write_all(said).await.unwrap();
        let mut line = String::new();
        io.read_line(&mut line).await.unwrap();
        assert!(line.starts_with(expected), "{line}");
    }
}

fn new_campaign() -> Json {
    let mut steps: Vec<Json> = (1..=2).map(step).collect();
    steps[1]["delay_minutes"] = json!(1440);
    json!({ "campaign": {
        "name": "Real", "min_wait_seconds": 0, "max_wait_seconds": 0, "sequence_steps": steps,
        "smtp_credentials": [{
            "smtp_host": "127.0.0.1", "smtp_port": port("REAL_SMTP_PORT"), "smtp_username": "user",
            "smtp_password": "secret", "from_name": "One", "from_email": SENDER, "daily_limit": 100,
            "imap_host": "127.0.0.1", "imap_port": port("REAL_IMAP_PORT"), "imap_username": SENDER,
            "imap_password": "secret"
        }]
    }})
}

/// The Message-ID of what was sent to a person.
async fn sent_to(w: &World, campaign: &str, person: &str) -> String {
    let contact = w.alice.seen(&format!("/contacts?email={person}")).await[0]["id"].clone();
    let rows = w.alice.seen(&format!("/campaigns/{campaign}/enrollments")).await;
    let row = rows.as_array().unwrap().iter().find(|row| row["contact_id"] == contact).unwrap().clone();
    let deliveries = w.alice.seen(&format!("/campaigns/{campaign}/deliveries")).await;
    let found = deliveries.as_array().unwrap().iter().find(|one| one["enrollment_id"] == row["id"]).unwrap();
    found["message_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers that .ci/mail starts"]
async fn a_campaign_through_real_servers_hears_what_comes_back() {
    world(|w| async move {
        hurry(&w, Duration::from_secs(900));
        let people = PEOPLE.map(str::to_owned);
        let id = dispatched(&w.alice, &new_campaign(), &people).await;
        let engine = Engine::start(&w.ctx);
        until(&w, "SELECT CAST(sum(sent) AS bigint) FROM campaign_totals", 4).await;
        // Postfix itself finds out that there is nobody, and says so.
        until(&w, "SELECT CAST(sum(bounced) AS bigint) FROM campaign_totals", 1).await;

        let answer = fixture("reply_plain", &sent_to(&w, &id, PEOPLE[0]).await, PEOPLE[0]);
        post(PEOPLE[0], SENDER, &answer).await;
        let away = fixture("auto_rfc3834", &sent_to(&w, &id, PEOPLE[2]).await, PEOPLE[2]);
        post("", SENDER, &away).await;
        until(&w, "SELECT CAST(sum(replied) AS bigint) FROM campaign_totals", 1).await;
        until(&w, "SELECT count(*) FROM enrollments WHERE auto_replied_at IS NOT NULL", 1).await;

        // The day passes: only those go on who neither answered nor bounced.
        w.sql("UPDATE enrollments SET due_at = 1 WHERE progress = 'waiting'", []).await;
        w.sql("UPDATE smtp_credentials SET wake_at = 1", []).await;
        let seen = until_status(&w.alice, &id, "completed").await;
        assert_eq!(seen["totals"]["sent"], 4);
        assert_eq!((&seen["totals"]["replied"], &seen["totals"]["bounced"]), (&json!(1), &json!(1)));
        for (person, expected) in [(PEOPLE[0], 1), (PEOPLE[1], 0), (PEOPLE[2], 2), (PEOPLE[3], 2)] {
            let arrived = async || (mails(person).len() >= expected).then_some(());
            eventually(DEADLINE, arrived).await.unwrap();
            assert_eq!(mails(person).len(), expected, "{person}");
        }
        let rows = w.alice.seen(&format!("/campaigns/{id}/enrollments?status=bounced")).await;
        let reason = rows[0]["bounce_reason"].as_str().unwrap();
        assert!(reason.contains("550") && reason.contains("nobody@example.test"), "{reason}");
        // The notice, the answer and the machine's are there as they came: unread.
        let kept = mails(SENDER);
        assert_eq!(kept.len(), 3);
        let read = kept.iter().filter(|path| path.to_string_lossy().contains(":2,S")).count();
        assert_eq!(read, 0, "{kept:?}");
        engine.stop().await;
    })
    .await;
}
