//! What comes back by IMAP: whatever a mail holds, what is read of it is clean and bounded.
#![cfg_attr(fuzzing, no_main)]

use ampout::inbox::{
    classify::{Kind, classify, needs_body},
    matching::named_by,
    notice::Notice,
};
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;

fn assert_ids(ids: &[String]) {
    for id in ids {
        assert!(id.contains('@') && (3..=300).contains(&id.len()), "{id:?}");
        assert!(!id.contains(|c: char| c.is_whitespace() || c.is_control() || c == '>'), "{id:?}");
    }
}

fn assert_recipients(recipients: &[String]) {
    for address in recipients {
        let (local, domain) = address.rsplit_once('@').expect("an address");
        assert!(!local.is_empty() && domain.contains('.'), "{address:?}");
        assert!(!address.contains(|c: char| c.is_whitespace() || c.is_control()), "{address:?}");
    }
}

fn assert_notice(notice: &Notice) {
    assert!(notice.recipients.len() <= 50, "{} recipients", notice.recipients.len());
    assert_recipients(&notice.recipients);
    assert_ids(&notice.originals);
    assert!(notice.originals.len() <= 100, "{} originals", notice.originals.len());
    assert!(notice.reason.len() <= 500, "{} bytes", notice.reason.len());
    assert!(!notice.reason.contains(char::is_control), "{:?}", notice.reason);
}

fuzz_target!(|data: &[u8]| {
    let mail = classify(data);
    assert_ids(&mail.answers);
    assert!(mail.answers.len() <= 60, "{} answers", mail.answers.len());
    assert_ids(mail.message_id.as_slice());
    match &mail.kind {
        Kind::Notices(notices) => {
            assert!(notices.len() <= 50, "{} notices", notices.len());
            notices.iter().for_each(assert_notice);
        }
        Kind::Complaint(complaint) => {
            assert_recipients(&complaint.recipients);
            assert_ids(&complaint.originals);
        }
        Kind::Reply | Kind::AutoReply => assert!(!mail.answers.is_empty()),
        Kind::Other => {}
    }
    let named = named_by(&mail);
    assert!(named.message_ids.iter().all(|id| id.starts_with('<') && id.ends_with('>')));

    // Of most mails only the headers are fetched: these alone make nobody bounce.
    let end = data.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(data.len(), |at| at + 4);
    let headers = &data[..end];
    if !needs_body(headers) {
        let kind = classify(headers).kind;
        assert!(!matches!(kind, Kind::Notices(_) | Kind::Complaint(_)), "{kind:?}");
    }
});
