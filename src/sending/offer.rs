//! The way to a recipient that was accepted: on the connection that the lane has, or on a new one. Nothing of a message is
//! sent here, so that it may be cut off at any point.

use super::{
    lane::LaneContext,
    program::Sender,
    smtp::{Broken, Envelope, OfferError, Offered, OpenError, SmtpConnection},
};

/// Why nothing could be handed over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Offer(#[from] OfferError),
}

/// An open connection on which the recipient was accepted. `again`: one that had served and was closed meanwhile is replaced,
/// once; a server that does not answer on it would not on another.
pub(super) async fn offer(
    ctx: &LaneContext,
    sender: &Sender,
    connection: &mut Option<SmtpConnection>,
    envelope: &Envelope<'_>,
    again: bool,
) -> Result<Offered, Refusal> {
    if let Some(kept) = connection {
        match kept.offer(envelope).await {
            Ok(offered) => return Ok(offered),
            Err(OfferError::Broken(why)) if again && kept.served() > 0 && why != Broken::Timeout => {
                *connection = None;
            }
            Err(error) => {
                if !kept.is_usable() {
                    *connection = None;
                }
                return Err(error.into());
            }
        }
    }
    let opened = SmtpConnection::open(&ctx.state.dialer, &sender.endpoint(), &ctx.timeouts).await?;
    let opened = connection.insert(opened);
    let offered = opened.offer(envelope).await;
    if !opened.is_usable() {
        *connection = None;
    }
    Ok(offered?)
}
