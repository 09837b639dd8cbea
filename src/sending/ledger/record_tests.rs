//! An outcome that the database refuses once is asked to be recorded again.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

/// Records an outcome with a writer that answers so. Answers what is told, and what was asked for each time.
async fn recorded_with(
    answers: Vec<Result<Vec<Verdict>, LedgerError>>,
) -> (Result<Vec<Verdict>, LedgerError>, Vec<Vec<(Ticket, Ask)>>) {
    let (entries, mut inbox) = mpsc::channel(1);
    let ledger = Ledger { entries };
    let owner = Owner { account_id: Uuid::nil(), campaign_id: Uuid::nil() };
    let ticket = Ticket { delivery_id: Uuid::nil(), token: Uuid::nil(), owner };
    let ended = vec![(ticket, Outcome::GivenBack)];
    let recording = async move { ledger.record(ended).await };
    let writing = async move {
        let mut asked = Vec::new();
        for answer in answers {
            let Some(Entry::Change(asks, asker)) = inbox.recv().await else { break };
            asked.push(asks);
            asker.send(answer).unwrap();
        }
        asked
    };
    tokio::join!(recording, writing)
}

#[tokio::test]
async fn what_is_refused_once_is_asked_for_again_as_it_was() {
    let answers = vec![Err(LedgerError::lasting("refused")), Ok(vec![Verdict::Recorded])];
    let (told, asked) = recorded_with(answers).await;
    assert_eq!(told.unwrap(), [Verdict::Recorded]);
    assert_eq!(asked.len(), 2);
    assert_eq!(asked.first(), asked.last());
}

#[tokio::test]
async fn without_an_outcome_nothing_is_asked() {
    let (entries, mut inbox) = mpsc::channel(1);
    let ledger = Ledger { entries };
    assert!(ledger.record(Vec::new()).await.unwrap().is_empty());
    assert!(inbox.try_recv().is_err());
}

#[test]
fn what_is_refused_again_and_again_is_told_unless_the_database_is_away() {
    let refused = LedgerError::lasting("refused");
    let away = LedgerError { passing: true, ..refused.clone() };
    assert_eq!(refused.again_after(1), Some(RETRY_AFTER));
    assert_eq!(refused.again_after(2), Some(2 * RETRY_AFTER));
    assert_eq!(refused.again_after(RECORD_TRIES), Some(RETRY_AFTER_MOST));
    assert_eq!(refused.again_after(RECORD_TRIES + 1), None);
    assert_eq!(away.again_after(RECORD_TRIES + 1), Some(RETRY_AFTER_MOST));
}
