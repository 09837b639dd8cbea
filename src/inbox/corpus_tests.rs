//! A table of real-shaped mails (`tests/fixtures/inbox`) and what each is.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use super::{
    classify::{Kind, Mail, classify, needs_body},
    notice::Action,
};

/// The message that all of them are about.
const ORIGINAL: &str = "0193a2b4c5d67e8f9a0b1c2d3e4f5a6b@sender.test";
const ADA: &str = "ada@example.test";

#[derive(Clone, Copy, Debug)]
enum Is {
    Reply,
    AutoReply,
    Failed(&'static str),
    Delayed,
    Arrived,
    Complaint,
    RedactedComplaint,
    Other,
}

const TABLE: &[(&str, Is)] = &[
    ("auto_bulk", Is::AutoReply),
    ("auto_exchange_2003_english", Is::AutoReply),
    ("auto_french", Is::AutoReply),
    ("auto_japanese", Is::AutoReply),
    ("auto_m365_english", Is::AutoReply),
    ("auto_m365_german", Is::AutoReply),
    ("auto_null_return_path", Is::AutoReply),
    ("auto_polish", Is::AutoReply),
    ("auto_rfc3834", Is::AutoReply),
    ("auto_spanish", Is::AutoReply),
    ("bounce_base64_status", Is::Failed("5.1.1")),
    ("bounce_exchange_without_action", Is::Failed("5.1.1")),
    ("bounce_exim", Is::Failed("550 No such user")),
    ("bounce_exim_plain", Is::Failed("ada@example.test Unrouteable address")),
    ("bounce_forwarded_address", Is::Failed("5.1.1")),
    (
        "bounce_given_up_after_days",
        Is::Failed("connect to mx.example.test[192.0.2.7]:25: Connection timed out"),
    ),
    (
        "bounce_gmail",
        Is::Failed(
            "550-5.1.1 The email account that you tried to reach does not exist. 550 5.1.1 Please try double-checking",
        ),
    ),
    ("bounce_html_only", Is::Failed("550 5.1.1 no such user")),
    (
        "bounce_m365",
        Is::Failed("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"),
    ),
    ("bounce_mailbox_full", Is::Failed("552 5.2.2 The email account that you tried to reach is over quota")),
    // The parser asserts something in the middle of it that does not hold, if its assertions are compiled in.
    ("bounce_of_a_wrapped_mail", Is::Failed("550 5.1.1 <ada@example.test>: Recipient address rejected")),
    ("bounce_postfix", Is::Failed("550 5.1.1 <ada@example.test>: Recipient address rejected: User unknown")),
    ("bounce_postfix_headers_only", Is::Failed("unknown user: \"ada\"")),
    ("bounce_qmail", Is::Failed("Remote host said: 550 5.1.1 No such user here")),
    ("complaint_arf", Is::Complaint),
    ("complaint_redacted", Is::RedactedComplaint),
    ("delayed_exim_plain", Is::Delayed),
    ("delayed_postfix", Is::Delayed),
    ("delivered_report", Is::Arrived),
    ("empty", Is::Other),
    ("forwarded_notice", Is::Other),
    ("garbage", Is::Other),
    ("not_spam_report", Is::Other),
    ("other_fresh_mail", Is::Other),
    ("other_newsletter", Is::Other),
    ("other_postmaster_is_a_person", Is::Reply),
    ("receipt_mdn", Is::Other),
    ("reply_about_out_of_office", Is::Reply),
    ("reply_auto_submitted_no", Is::Reply),
    ("reply_broken_charset", Is::Reply),
    ("reply_folded_references", Is::Reply),
    ("reply_forwarded_to_us", Is::Reply),
    ("reply_html_only", Is::Reply),
    ("reply_in_reply_to_words", Is::Reply),
    ("reply_outlook_german", Is::Reply),
    ("reply_plain", Is::Reply),
    ("reply_through_a_list", Is::Reply),
    ("two_recipients", Is::Failed("550 no")),
];

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/inbox"))
}

fn read(name: &str) -> Vec<u8> {
    fs::read(folder().join(format!("{name}.eml"))).unwrap()
}

fn assert_is(name: &str, mail: &Mail, expected: Is) {
    let names_original = |ids: &[String]| assert!(ids.iter().any(|id| id == ORIGINAL), "{name}: {ids:?}");
    match (&mail.kind, expected) {
        (Kind::Reply, Is::Reply) | (Kind::AutoReply, Is::AutoReply) => {
            assert_eq!(mail.answers.first().map(String::as_str), Some(ORIGINAL), "{name}");
        }
        (Kind::Notices(notices), Is::Failed(_) | Is::Delayed | Is::Arrived) => {
            let first = notices.first().unwrap_or_else(|| panic!("{name} has no recipient"));
            names_original(&first.originals);
            assert!(first.recipients.iter().any(|address| address == ADA), "{name}: {first:?}");
            let action = match expected {
                Is::Failed(reason) => {
                    assert!(first.reason.contains(reason), "{name}: {}", first.reason);
                    Action::Failed
                }
                Is::Delayed => Action::Delayed,
                Is::Arrived
                | Is::Reply
                | Is::AutoReply
                | Is::Complaint
                | Is::RedactedComplaint
                | Is::Other => Action::Arrived,
            };
            assert_eq!(first.action, action, "{name}");
        }
        (Kind::Complaint(complaint), Is::Complaint | Is::RedactedComplaint) => {
            names_original(&complaint.originals);
            let told = if matches!(expected, Is::Complaint) { vec![ADA.to_owned()] } else { vec![] };
            assert_eq!(complaint.recipients, told, "{name}");
        }
        (Kind::Other, Is::Other) => {}
        (found, expected) => panic!("{name} is {expected:?}, but was taken for {found:?}"),
    }
}

#[test]
fn every_mail_of_the_corpus_is_what_the_table_says() {
    let files: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().to_str().unwrap().strip_suffix(".eml").map(str::to_owned)
        })
        .collect();
    let listed: BTreeSet<String> = TABLE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, listed);
    for (name, expected) in TABLE {
        assert_is(name, &classify(&read(name)), *expected);
    }
}

#[test]
fn the_body_is_wanted_of_notices_only() {
    for (name, expected) in TABLE {
        let bytes = read(name);
        let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        let headers = bytes.get(..end).unwrap();
        let wanted = needs_body(headers);
        match expected {
            Is::Failed(_) | Is::Delayed | Is::Arrived | Is::Complaint | Is::RedactedComplaint => {
                assert!(wanted, "{name}");
            }
            Is::Reply | Is::AutoReply | Is::Other if !wanted => {
                assert_is(name, &classify(headers), *expected);
            }

            Is::Reply | Is::AutoReply | Is::Other => {}
        }
    }
}

#[test]
fn a_mail_that_is_cut_anywhere_is_read_without_a_panic_and_never_becomes_worse() {
    for (name, expected) in TABLE {
        let bytes = read(name);
        for end in (0..bytes.len()).step_by(7) {
            let cut = classify(bytes.get(..end).unwrap());
            let human = matches!(expected, Is::Reply);
            assert!(!(human && matches!(cut.kind, Kind::Notices(_) | Kind::Complaint(_))), "{name} at {end}");
        }
    }
}

#[test]
fn of_two_recipients_each_is_told_apart() {
    let Kind::Notices(notices) = classify(&read("two_recipients")).kind else { panic!("no notices") };
    let told: Vec<_> = notices.iter().map(|one| (one.action, one.recipients.join(","))).collect();
    assert_eq!(told, [(Action::Failed, ADA.to_owned()), (Action::Delayed, "bob@example.test".to_owned())]);
}

#[test]
fn a_notice_is_about_a_hundred_messages_at_most() {
    let names: Vec<_> = (0..300).map(|n| format!("Message-ID: <{n}@sender.test>\r\n")).collect();
    let names = names.concat();
    let mail = format!(
        "From: MAILER-DAEMON@mx.test\r\nTo: me@sender.test\r\nSubject: Undelivered Mail Returned to Sender\r\n\r\n\
         Your mail to <{ADA}> could not be delivered.\r\n\r\n{names}"
    );
    let Kind::Notices(notices) = classify(mail.as_bytes()).kind else { panic!("no notices") };
    assert_eq!(notices.iter().map(|notice| notice.originals.len()).collect::<Vec<_>>(), [100]);
}

/// On a stack as a worker of the runtime has: one that overflows ends the process, whoever catches what.
#[test]
fn a_mail_in_a_mail_in_a_mail_ends() {
    let head = "From: MAILER-DAEMON@mx.test\nSubject: Undelivered Mail Returned to Sender\n";
    for again in [
        "Content-Type:message/rfc822\n\n",
        "Content-Type:message/global\n\n",
        "Content-Type:multipart/digest;boundary=a\n\n--a\n\n",
        "Content-Type:multipart/mixed;boundary=a\n\n--a\n",
        "Content-Type:multipart/mixed;boundary=a\n\n--a\nContent-Type:message/rfc822\n\n",
        "Content-Type:text/plain;a*0*=''\"",
        "Subject: ((((((((((((((((((((((((",
    ] {
        let mail = head.to_owned() + &again.repeat(512 * 1024 / again.len());
        let read = move || drop((needs_body(mail.as_bytes()), classify(mail.as_bytes())));
        std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(read).unwrap().join().unwrap();
    }
}
