//! Replies without a connection, for the fuzzer (`fuzz/targets/smtp_reply.rs`). Compiled for it and for the tests only.

use tokio::io::AsyncBufRead;

use super::{features::Features, outcome::Broken, reply::Reply, wire};

/// So many bytes of a line are kept.
pub const LINE_BYTES: usize = wire::MAX_LINE;
/// So many bytes of a reply are read.
pub const REPLY_BYTES: usize = wire::MAX_REPLY;

/// One whole reply, as the wire reads it.
///
/// # Errors
/// As there.
pub async fn read<R>(reader: &mut R) -> Result<Reply, Broken>
where
    R: AsyncBufRead + Unpin,
{
    wire::read_reply(reader).await
}

/// What a reply to EHLO is taken to offer.
pub fn offers(reply: &Reply) -> Vec<&'static str> {
    let Features { starttls, pipelining, size, chunking, auth_plain, auth_login } = Features::read(reply);
    let all = [
        ("STARTTLS", starttls),
        ("PIPELINING", pipelining),
        ("SIZE", size),
        ("CHUNKING", chunking),
        ("PLAIN", auth_plain),
        ("LOGIN", auth_login),
    ];
    all.into_iter().filter_map(|(name, offered)| offered.then_some(name)).collect()
}
