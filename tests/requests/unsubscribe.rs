//! What recipients reach without a key: the unsubscribe page and the open pixel.

use ampout::{crypto::links, models::states::Progress};
use axum_test::TestResponse;
use uuid::Uuid;

use super::recipients::{Enrolled, campaign, contact, count, enroll, hash, import, scope};
use crate::support::{Client, World, world};

/// The path of a link in a mail to this address.
fn unsubscribe_path(w: &World, to: &Enrolled, email: &str) -> String {
    let hashed = hash(w, to.account, email);
    links::unsubscribe_url("", &w.state().link_keys, to.account, &hashed, to.enrollment)
}

fn pixel_path(w: &World, to: &Enrolled) -> String {
    links::open_url("", &w.state().link_keys, to.account, to.enrollment)
}

/// The same contact in a campaign of either account; Alice's.
async fn look_alikes(w: &World) -> (Uuid, Enrolled) {
    let mut made = vec![];
    for client in [&w.bob, &w.alice] {
        let jo = contact(client, "Jo@example.com").await;
        let running = campaign(w, client, None).await;
        made.push((jo, enroll(w, client, running, jo, Progress::Queued).await));
    }
    made.pop().unwrap()
}

async fn unsubscribed(w: &World, client: &Client) -> [i64; 3] {
    [
        count(w, client, "suppressions WHERE account_id = $1").await,
        count(w, client, "contacts WHERE account_id = $1 AND unsubscribed_at IS NOT NULL").await,
        count(
            w,
            client,
            "enrollments WHERE account_id = $1 AND status = 'unsubscribed' AND progress = 'finished'",
        )
        .await,
    ]
}

fn assert_is_a_private_page(page: &TestResponse) {
    page.assert_status_ok();
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    let policy = page.header("content-security-policy");
    assert!(policy.to_str().unwrap().starts_with("default-src 'none'"), "{policy:?}");
    assert!(!page.text().contains("<script"));
    assert!(page.maybe_header("set-cookie").is_none());
}

#[tokio::test]
async fn looking_at_the_page_changes_nothing() {
    world(|w| async move {
        let (_, jo) = look_alikes(&w).await;
        let path = unsubscribe_path(&w, &jo, "Jo@example.com");
        let page = w.server.get(&path).await;
        assert_is_a_private_page(&page);
        assert!(page.text().contains("<form method=\"post\">"));
        for token in ["not-a-token", "%ff"] {
            let bad = w.server.get(&format!("/u/{token}")).await;
            assert_is_a_private_page(&bad);
            assert_eq!(bad.text(), page.text());
        }
        w.server.method(axum::http::Method::HEAD, &path).await.assert_status_ok();
        assert_eq!(unsubscribed(&w, &w.alice).await, [0, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn one_click_stops_everything_to_that_address_in_that_account() {
    world(|w| async move {
        let (contact_id, jo) = look_alikes(&w).await;
        let second = campaign(&w, &w.alice, None).await;
        enroll(&w, &w.alice, second, contact_id, Progress::Waiting).await;
        let path = unsubscribe_path(&w, &jo, "jo@example.com");
        let one_click = w.server.post(&path).form(&[("List-Unsubscribe", "One-Click")]).await;
        assert_is_a_private_page(&one_click);
        assert_eq!(unsubscribed(&w, &w.alice).await, [1, 1, 2]);
        assert_eq!(unsubscribed(&w, &w.bob).await, [0, 0, 0]);
        let totals = "SELECT unsubscribed - pending FROM campaign_totals WHERE campaign_id = $1";
        assert_eq!(w.number(totals, [jo.campaign.into()]).await, 1);
        let first = w.alice.seen(&format!("/contacts/{contact_id}")).await["unsubscribed_at"].clone();
        let again = w.server.post(&format!("{path}?utm_source=mail")).text("anything").await;
        assert_eq!(again.text(), one_click.text());
        for token in ["AAAA", "%ff"] {
            assert_eq!(w.server.post(&format!("/u/{token}")).await.text(), one_click.text());
        }
        assert_eq!(unsubscribed(&w, &w.alice).await, [1, 1, 2]);
        assert_eq!(w.alice.seen(&format!("/contacts/{contact_id}")).await["unsubscribed_at"], first);
    })
    .await;
}

#[tokio::test]
async fn a_repeated_click_finishes_what_the_first_left_undone() {
    world(|w| async move {
        let (_, jo) = look_alikes(&w).await;
        let hashed = hash(&w, jo.account, "jo@example.com").to_vec();
        let sql = "INSERT INTO suppressions (account_id, email_hash, created_at) VALUES ($1, $2, $3)";
        let now = ampout::clock::Timestamp::now().micros();
        w.sql(sql, [jo.account.into(), hashed.into(), now.into()]).await;
        assert_eq!(unsubscribed(&w, &w.alice).await, [1, 0, 0]);
        w.server.post(&unsubscribe_path(&w, &jo, "Jo@example.com")).await.assert_status_ok();
        assert_eq!(unsubscribed(&w, &w.alice).await, [1, 1, 1]);
        assert_eq!(unsubscribed(&w, &w.bob).await, [0, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn a_repeated_click_finds_the_contact_that_has_the_address_by_now() {
    world(|w| async move {
        let (_, jo) = look_alikes(&w).await;
        let path = unsubscribe_path(&w, &jo, "old@example.com");
        w.server.post(&path).await.assert_status_ok();
        assert_eq!(unsubscribed(&w, &w.alice).await, [1, 0, 0]);
        // As if the search had been cut off.
        let sql = "UPDATE contacts SET email = 'old@example.com', email_key = 'old@example.com' WHERE account_id = $1";
        scope(&w, &w.alice).execute(sql, []).await.unwrap();
        w.server.post(&path).await.assert_status_ok();
        assert_eq!(unsubscribed(&w, &w.alice).await, [1, 1, 1]);
    })
    .await;
}

#[tokio::test]
async fn a_click_is_about_what_went_to_its_address_whatever_addresses_the_contact_had() {
    world(|w| async move {
        let (jo, first) = look_alikes(&w).await;
        let finish = "UPDATE enrollments SET status = 'sent', progress = 'finished' WHERE account_id = $1";
        let moved = async |email: &str| {
            scope(&w, &w.alice).execute(finish, []).await.unwrap();
            let change = serde_json::json!({"contact": {"email": email}});
            w.alice.patch(&format!("/contacts/{jo}"), &change).await.assert_status_ok();
        };
        let mut enrolled = vec![first];
        // What is spelt another way is the same address.
        for email in ["JO@example.com", "second@example.com", "jo@example.com", "third@example.com"] {
            moved(email).await;
            let next = campaign(&w, &w.alice, None).await;
            enrolled.push(enroll(&w, &w.alice, next, jo, Progress::Waiting).await);
        }
        assert_eq!(count(&w, &w.alice, "former_addresses WHERE account_id = $1").await, 4);
        let click = async |nth: usize, email: &str| {
            let path = unsubscribe_path(&w, &enrolled[nth], email);
            w.server.post(&path).await.assert_status_ok();
            let alice = scope(&w, &w.alice);
            let sql = "SELECT status FROM enrollments WHERE account_id = $1 ORDER BY id";
            let rows = alice.query(sql, []).await.unwrap();
            rows.iter().map(|row| row.try_get::<String>("", "status").unwrap()).collect::<Vec<_>>()
        };
        let (ended, stays, goes) = ("unsubscribed", "sent", "pending");
        assert_eq!(click(0, "jo@example.com").await, [ended, ended, stays, ended, goes]);
        assert_eq!(unsubscribed(&w, &w.alice).await, [1, 0, 3]);
        assert_eq!(click(4, "third@example.com").await, [ended, ended, stays, ended, ended]);
        assert_eq!(unsubscribed(&w, &w.alice).await, [2, 1, 4]);
        assert_eq!(unsubscribed(&w, &w.bob).await, [0, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn an_address_is_kept_for_what_was_sent_by_campaigns_that_are_there() {
    world(|w| async move {
        let (jo, _) = look_alikes(&w).await;
        let gone = campaign(&w, &w.alice, None).await;
        enroll(&w, &w.alice, gone, jo, Progress::Waiting).await;
        w.sql("UPDATE campaigns SET deleted_at = 1 WHERE id = $1", [gone.into()]).await;
        let finish = "UPDATE enrollments SET status = 'sent', progress = 'finished' WHERE account_id = $1";
        scope(&w, &w.alice).execute(finish, []).await.unwrap();
        let change = serde_json::json!({"contact": {"email": "new@example.com"}});
        w.alice.patch(&format!("/contacts/{jo}"), &change).await.assert_status_ok();
        assert_eq!(count(&w, &w.alice, "former_addresses WHERE account_id = $1").await, 1);
        assert_eq!(count(&w, &w.bob, "former_addresses WHERE account_id = $1").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_link_works_when_its_contact_and_campaign_are_gone() {
    world(|w| async move {
        let (contact_id, jo) = look_alikes(&w).await;
        let path = unsubscribe_path(&w, &jo, "Jo@example.com");
        w.alice.delete(&format!("/contacts/{contact_id}")).await.assert_status_ok();
        let alice = scope(&w, &w.alice);
        for table in ["enrollments", "contacts", "batches", "campaign_totals", "campaigns"] {
            alice.execute(&format!("DELETE FROM {table} WHERE account_id = $1"), []).await.unwrap();
        }
        // The same person, imported once more.
        import(&w.alice, &["al@example.com", "JO@example.com"]).await;
        w.server.post(&path).await.assert_status_ok();
        assert_eq!(unsubscribed(&w, &w.alice).await, [1, 1, 0]);
        let jo = w.alice.seen("/contacts?email=jo@example.com").await;
        assert!(jo[0]["unsubscribed_at"].is_string());
    })
    .await;
}

#[tokio::test]
async fn either_form_and_no_form_at_all_are_taken() {
    let multipart =
        "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n";
    for (content_type, body) in [
        (Some("multipart/form-data; boundary=x"), multipart),
        (Some("application/x-www-form-urlencoded"), "List-Unsubscribe=One-Click"),
        (Some("multipart/form-data"), "no boundary"),
        (None, ""),
    ] {
        world(|w| async move {
            let (_, jo) = look_alikes(&w).await;
            let post = w.server.post(&unsubscribe_path(&w, &jo, "Jo@example.com")).text(body);
            let post = match content_type {
                Some(content_type) => post.content_type(content_type),
                None => post,
            };
            assert_is_a_private_page(&post.await);
            assert_eq!(unsubscribed(&w, &w.alice).await, [1, 1, 1], "{content_type:?}");
            assert_eq!(unsubscribed(&w, &w.bob).await, [0, 0, 0]);
        })
        .await;
    }
}

#[tokio::test]
async fn a_link_of_last_year_works_after_the_master_key_was_changed() {
    world(|w| async move {
        let (_, jo) = look_alikes(&w).await;
        let path = unsubscribe_path(&w, &jo, "Jo@example.com");
        let long_ago = ampout::clock::Timestamp::now().minus(std::time::Duration::from_secs(400 * 86_400));
        for table in ["contacts", "enrollments", "campaigns", "batches", "app_keys"] {
            w.sql(&format!("UPDATE {table} SET created_at = $1"), [long_ago.micros().into()]).await;
        }
        let later = w.with_new_master_key().await;
        assert_is_a_private_page(&later.post(&path).form(&[("List-Unsubscribe", "One-Click")]).await);
        assert_eq!(unsubscribed(&w, &w.alice).await, [1, 1, 1]);
        assert_eq!(unsubscribed(&w, &w.bob).await, [0, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn an_unsubscribed_address_stays_so_after_delete_and_import() {
    world(|w| async move {
        let (contact_id, jo) = look_alikes(&w).await;
        w.server.post(&unsubscribe_path(&w, &jo, "Jo@example.com")).await.assert_status_ok();
        w.alice.delete(&format!("/contacts/{contact_id}")).await.assert_status_ok();
        import(&w.alice, &["jo@example.com"]).await;
        let back = w.alice.seen("/contacts?email=jo@example.com").await;
        assert!(back[0]["unsubscribed_at"].is_string(), "{back}");
    })
    .await;
}

#[tokio::test]
async fn the_first_load_of_the_pixel_is_the_open() {
    world(|w| async move {
        let (_, jo) = look_alikes(&w).await;
        let path = pixel_path(&w, &jo);
        let opened = "enrollments WHERE account_id = $1 AND opened_at IS NOT NULL AND status = 'opened'";
        let head = w.server.method(axum::http::Method::HEAD, &path).await;
        head.assert_status_ok();
        let forged = w.server.get("/o/forged.gif").await;
        let undecodable = w.server.get("/o/%ff.gif").await;
        assert_eq!(count(&w, &w.alice, opened).await, 0);
        let first = w.server.get(&path).await;
        first.assert_status_ok();
        assert_eq!(first.header("content-type"), "image/gif");
        assert_eq!(first.header("cache-control"), "no-store");
        assert!(
            first.as_bytes().starts_with(b"GIF89a\x01\x00\x01\x00") && first.as_bytes().ends_with(b"\x3b")
        );
        let again = w.server.get(&format!("{path}?proxy=1")).await;
        for other in [&forged, &undecodable, &again] {
            assert_eq!(other.as_bytes(), first.as_bytes());
            assert_eq!(other.headers().get("content-type"), first.headers().get("content-type"));
        }
        assert_eq!(count(&w, &w.alice, opened).await, 1);
        assert_eq!(count(&w, &w.bob, opened).await, 0);
        for table in ["batches", "campaign_totals"] {
            let sql = format!("SELECT opened - pending FROM {table} WHERE campaign_id = $1");
            assert_eq!(w.number(&sql, [jo.campaign.into()]).await, 1, "{table}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_open_never_lowers_a_status() {
    world(|w| async move {
        let (_, jo) = look_alikes(&w).await;
        let sql = "UPDATE enrollments SET status = 'replied', progress = 'finished' WHERE account_id = $1";
        scope(&w, &w.alice).execute(sql, []).await.unwrap();
        w.server.get(&pixel_path(&w, &jo)).await.assert_status_ok();
        let kept = "enrollments WHERE account_id = $1 AND status = 'replied' AND opened_at IS NOT NULL";
        assert_eq!(count(&w, &w.alice, kept).await, 1);
        assert_eq!(w.alice.seen("/contacts").await.as_array().unwrap().len(), 1);
    })
    .await;
}
