//! Checks the logins of a credential: SMTP and IMAP at the same time, without a mail and without a transaction.

use std::time::Duration;

use super::smtp::{Endpoint, Timeouts, verify_smtp};
use crate::{
    errors::{ApiError, ApiResult},
    models::smtp_credentials::{Model, imap_password_place, smtp_password_place},
    net::{
        VerifyError,
        imap_probe::{Mailbox, verify_imap},
    },
    state::AppState,
};

/// How long each of the two may take.
const WITHIN: Duration = Duration::from_secs(30);

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The login to the server that it sends through.
    pub smtp: Result<(), VerifyError>,
    /// The login to its mailbox; none where it has no mailbox.
    pub imap: Option<Result<(), VerifyError>>,
}

/// Logs in and out again.
///
/// # Errors
/// `internal_error` when a stored secret does not open.
pub async fn verify(state: &AppState, row: &Model) -> ApiResult<Verified> {
    let (smtp, imap) = tokio::join!(check_smtp(state, row), check_imap(state, row));
    Ok(Verified { smtp: smtp?, imap: imap? })
}

async fn check_smtp(state: &AppState, row: &Model) -> ApiResult<Result<(), VerifyError>> {
    let place = smtp_password_place(row.account_id, row.id);
    let password = state.sealer.open_text(&place, &row.smtp_password).map_err(ApiError::internal)?;
    let endpoint = Endpoint {
        host: &row.smtp_host,
        port: port(row.smtp_port)?,
        username: &row.smtp_username,
        password: password.expose(),
    };
    let timeouts = Timeouts { before_data: WITHIN, ..Timeouts::default() };
    Ok(verify_smtp(&state.dialer, &endpoint, &timeouts).await)
}

async fn check_imap(state: &AppState, row: &Model) -> ApiResult<Option<Result<(), VerifyError>>> {
    let (Some(host), Some(number), Some(username), Some(sealed)) =
        (&row.imap_host, row.imap_port, &row.imap_username, &row.imap_password)
    else {
        return Ok(None);
    };
    let place = imap_password_place(row.account_id, row.id);
    let password = state.sealer.open_text(&place, sealed).map_err(ApiError::internal)?;
    let mailbox = Mailbox { host, port: port(number)?, username, password: password.expose() };
    Ok(Some(verify_imap(&state.dialer, &mailbox, WITHIN).await))
}

fn port(number: i32) -> ApiResult<u16> {
    u16::try_from(number).map_err(ApiError::internal)
}
