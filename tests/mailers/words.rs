//! The words of every mail, for every reason: whole, escaped where it is a page, and with a way on.

use ampout::{
    clock::Timestamp,
    mailers::{Mail, Templates},
};
use uuid::Uuid;

const MARKUP: &str = "<script>alert('&')</script>";

fn disabled(reason: &str, last: bool) -> Mail {
    Mail::CredentialDisabled {
        smtp_credential_id: Uuid::now_v7(),
        from_email: "ana@sender.example".to_owned(),
        campaign_id: Uuid::now_v7(),
        campaign: MARKUP.to_owned(),
        reason: reason.to_owned(),
        bounce_rate: 12.5,
        bounce_rate_threshold: 8.0,
        last,
        disabled_at: Timestamp(1_795_000_000_000_000),
    }
}

fn every_mail() -> Vec<Mail> {
    let reasons = ["auth", "policy", "bounce_rate"];
    let mut mails: Vec<Mail> =
        reasons.iter().flat_map(|reason| [disabled(reason, true), disabled(reason, false)]).collect();
    mails.push(Mail::Welcome);
    mails.push(Mail::CampaignPaused {
        campaign_id: Uuid::now_v7(),
        campaign: MARKUP.to_owned(),
        paused_at: Timestamp(1_795_000_000_000_000),
    });
    mails.extend([usage(80), usage(100)]);
    mails.push(Mail::PaymentFailed { invoice: MARKUP.to_owned(), plan: "hobby".to_owned() });
    mails
}

fn usage(percent: i32) -> Mail {
    Mail::PlanUsage {
        percent,
        period_start: Timestamp(1_795_000_000_000_000),
        period_end: Timestamp(1_797_000_000_000_000),
        sends: 4_000,
        limit: 5_000,
        plan: MARKUP.to_owned(),
    }
}

#[test]
fn every_mail_is_whole_and_its_page_holds_no_markup_of_a_value() {
    let templates = Templates::compile().unwrap();
    let account = Uuid::now_v7();
    for mail in every_mail() {
        let letter = templates.render(&mail, account, "https://mail.ampout.test").unwrap();
        let name = mail.name();
        assert!(!letter.subject.is_empty() && !letter.subject.contains('\n'), "{name}: {:?}", letter.subject);
        for part in [&letter.text, &letter.html] {
            assert!(part.contains("https://mail.ampout.test/"), "{name}: {part}");
            assert!(part.contains(&account.to_string()), "{name}: {part}");
            assert!(!part.contains("{{") && !part.contains("{%"), "{name}: {part}");
        }
        assert!(letter.html.starts_with("<!doctype html>"), "{name}: {}", letter.html);
        assert!(!letter.html.contains("<script"), "{name}: {}", letter.html);
        assert!(!letter.text.contains("&lt;") && !letter.subject.contains("&lt;"), "{name}: plain text");
        let longest = letter.text.lines().map(str::len).max().unwrap();
        assert!(longest < 500 && !letter.text.contains("\n\n\n"), "{name}: {}", letter.text);
    }
}

#[test]
fn each_reason_has_its_own_way_on() {
    let templates = Templates::compile().unwrap();
    let text = |mail: &Mail| templates.render(mail, Uuid::nil(), "https://x.test").unwrap().text;
    assert!(text(&disabled("auth", false)).contains("/verify"));
    assert!(text(&disabled("policy", false)).contains("/deliveries"));
    assert!(text(&disabled("bounce_rate", false)).contains("12.5 %"));
    assert!(text(&disabled("auth", true)).contains("no other mailbox"));
    assert!(text(&usage(80)).contains("4000 of the 5000") && text(&usage(100)).contains("What is due waits"));
    assert!(text(&disabled("auth", false)).contains("goes on with its other mailboxes"));
}
