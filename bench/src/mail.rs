//! The mail server that is sent to: a sink in this process that only counts, and offers what Postfix offers.

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
