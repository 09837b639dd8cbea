//! The mail server that is sent to: a sink in this process that only counts, and offers what Postfix offers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use testkit::{
    api::Error,
    sink::{Chunking, Keep, Sink},
};

/// One that takes whole messages as chunks (RFC 3030).
///
/// # Errors
/// No port could be listened on.
pub async fn server() -> Result<Sink, Error> {
    with(Chunking::Offered).await
}

/// One that does not: a message waits for the answer to DATA.
///
/// # Errors
/// No port could be listened on.
pub async fn server_without_chunks() -> Result<Sink, Error> {
    with(Chunking::None).await
}

async fn with(chunking: Chunking) -> Result<Sink, Error> {
    Ok(Sink::builder().keep(Keep::Tally).chunking(chunking).start().await?)
}

/// One that takes chunks and notes when each message came.
pub struct Timed {
    /// The server.
    pub sink: Sink,
    times: Arc<Mutex<Vec<Instant>>>,
}

/// Starts one.
///
/// # Errors
/// No port could be listened on.
pub async fn timed() -> Result<Timed, Error> {
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noted = Arc::clone(&times);
    let note = move |_: &_| noted.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    let sink = Sink::builder().keep(Keep::Passing).chunking(Chunking::Offered).on_message(note);
    Ok(Timed { sink: sink.start().await?, times })
}

impl Timed {
    /// When messages came since the last [`Self::clear`], in that order.
    pub fn times(&self) -> Vec<Instant> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what came.
    pub fn clear(&self) {
        self.sink.clear();
        self.times.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
