//! The operator's mail server for system mail: one connection a mail, with or without TLS as the address says and the
//! operator allows, and a time limit over all of it, since lettre's own bounds the connect alone.

use std::{error::Error as _, fmt, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    address::AddressError,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        self,
        client::{Certificate, CertificateStore, Tls, TlsParameters, TlsParametersBuilder},
    },
};
use loco_rs::mailer::Email;
use url::Url;
use uuid::Uuid;

/// How long sending one mail may take, from the name's look-up to the reply after the final dot.
const WITHIN: Duration = Duration::from_secs(60);

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(15);

/// `SYSTEM_SMTP_URL` and `SYSTEM_MAIL_FROM`, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct RelaySettings {
    /// It may hold a password.
    url: Url,
    from: Mailbox,
}

impl fmt::Debug for RelaySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelaySettings").field("url", &"…").field("from", &self.from).finish()
    }
}

impl RelaySettings {
    /// Reads both; `None` where no server is set. What is said about a wrong address never repeats it.
    ///
    /// # Errors
    /// The variable at fault and what is wrong with it.
    pub fn parse(url: &str, from: &str) -> Result<Option<Self>, (&'static str, String)> {
        let from = match from.trim() {
            "" => None,
            given => Some(sender(given).map_err(|problem| ("SYSTEM_MAIL_FROM", problem))?),
        };
        if url.is_empty() {
            return Ok(None);
        }
        let url = server(url).map_err(|problem| ("SYSTEM_SMTP_URL", problem.to_owned()))?;
        let missing = "is missing: the sender of mail through SYSTEM_SMTP_URL is needed here";
        let from = from.ok_or_else(|| ("SYSTEM_MAIL_FROM", missing.to_owned()))?;
        Ok(Some(Self { url, from }))
    }

    /// Whether the server is logged in to.
    pub fn logs_in(&self) -> bool {
        self.url.password().is_some()
    }
}

/// A sender: an address, or a name with one.
fn sender(text: &str) -> Result<Mailbox, String> {
    let wrong =
        |_: AddressError| format!("must be an address, or a name and an address in <…>, not \"{text}\"");
    if text.chars().any(char::is_control) {
        return Err("must be one line".to_owned());
    }
    text.parse::<Mailbox>().map_err(wrong)
}

/// A server, with what has to be escaped in a user name or a password escaped.
fn server(text: &str) -> Result<Url, &'static str> {
    const FORM: &str =
        "must be smtp://USER:PASSWORD@HOST:PORT or smtps://… (user and password may be left out)";
    let url = Url::parse(text).map_err(|_| FORM)?;
    let plain = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let host = url.host_str().is_some_and(|host| !host.is_empty());
    if !matches!(url.scheme(), "smtp" | "smtps") || !host || !plain {
        return Err(FORM);
    }
    if url.username().is_empty() == url.password().is_some() {
        return Err("must have a user name and a password, or neither");
    }
    Ok(url)
}

/// Why a mail did not go out.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The server cannot be spoken to at all: TLS could not be set up.
    #[error("SYSTEM_SMTP_URL cannot be used: {0}")]
    Setup(smtp::Error),
    /// The mail is not one.
    #[error("the mail cannot be written: {0}")]
    Message(String),
    /// The server does not take us, or there is none.
    #[error("the relay cannot be used: {0}")]
    Unusable(smtp::Error),
    /// The server refused it, or there is none.
    #[error("the relay did not take the mail: {0}")]
    Refused(smtp::Error),
    /// It took too long.
    #[error("the relay did not answer in time")]
    Timeout,
}

impl RelayError {
    /// Whether no other try helps: the mail cannot be written, or the server will not have it for its recipient. What the
    /// operator may mend (a login, a sender that is not let send) is none of that.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Message(_) => true,
            Self::Refused(error) if error.is_permanent() => {
                let words = error.source().map(ToString::to_string).unwrap_or_default();
                error.status().is_some_and(|code| blames_recipient(u16::from(code), &words))
            }
            Self::Setup(_) | Self::Unusable(_) | Self::Refused(_) | Self::Timeout => false,
        }
    }
}

/// Whether a 5yz is about the recipient's address or mailbox: by its enhanced status (RFC 3463; 1.7 and 1.8 are about the
/// sender's address), and else by its code (RFC 5321, section 4.2.3).
fn blames_recipient(code: u16, words: &str) -> bool {
    let status = words.split_whitespace().next().and_then(|word| word.strip_prefix("5."));
    match status.and_then(|status| status.split_once('.')) {
        Some(("1", detail)) => !matches!(detail, "7" | "8"),
        Some((subject, _)) => subject == "2",
        None => matches!(code, 550 | 551 | 553),
    }
}

/// Sends mail through the operator's server; cheap to clone.
#[derive(Clone)]
pub struct Relay {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    within: Duration,
}

impl Relay {
    /// `smtps://` is TLS from the first byte. `smtp://` is STARTTLS; a server that has none is spoken to in plain text
    /// only where `allow_plain` says so.
    ///
    /// # Errors
    /// When TLS cannot be set up for this host.
    pub fn new(settings: &RelaySettings, allow_plain: bool) -> Result<Self, RelayError> {
        let host = settings.url.host_str().unwrap_or_default();
        let tls = tls_parameters(host).map_err(RelayError::Setup)?;
        let mut url = settings.url.clone();
        let tls = if url.scheme() == "smtps" {
            Tls::Wrapper(tls)
        } else {
            // For lettre the port of submission goes with this.
            url.set_query(Some("tls=required"));
            if allow_plain { Tls::Opportunistic(tls) } else { Tls::Required(tls) }
        };
        let builder =
            AsyncSmtpTransport::<Tokio1Executor>::from_url(url.as_str()).map_err(RelayError::Setup)?;
        let transport = builder.tls(tls).timeout(Some(CONNECT)).build();
        Ok(Self { transport, from: settings.from.clone(), within: WITHIN })
    }

    /// The same with another time limit on each mail.
    #[must_use]
    pub const fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// The `Message-ID` of a mail, in the sender's domain.
    pub fn message_id(&self, id: Uuid) -> String {
        format!("<{id}@{}>", self.from.email.domain())
    }

    /// Connects as for a mail, with TLS and login, and hands over none.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub async fn check(&self) -> Result<(), RelayError> {
        let checked = tokio::time::timeout(self.within, self.transport.test_connection()).await;
        let alive = checked.map_err(|_| RelayError::Timeout)?.map_err(RelayError::Unusable)?;
        // One that is not alive was there, and is gone.
        if alive { Ok(()) } else { Err(RelayError::Timeout) }
    }

    /// Sends one mail.
    ///
    /// # Errors
    /// See [`RelayError`]. After `Timeout`, or a connection that broke, the mail may have gone out all the same.
    pub async fn deliver(&self, email: &Email) -> Result<(), RelayError> {
        let message = self.message(email)?;
        let sent = tokio::time::timeout(self.within, self.transport.send(message)).await;
        sent.map_err(|_| RelayError::Timeout)?.map(drop).map_err(RelayError::Refused)
    }

    fn message(&self, email: &Email) -> Result<Message, RelayError> {
        let unwritable = |error: &dyn fmt::Display| RelayError::Message(error.to_string());
        let to: Mailbox = email.to.parse().map_err(|error: AddressError| unwritable(&error))?;
        let message_id = email.headers.as_ref().and_then(|headers| headers.message_id.clone());
        Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(email.subject.clone())
            .message_id(message_id)
            .header(AutoSubmitted)
            .multipart(MultiPart::alternative_plain_html(email.text.clone(), email.html.clone()))
            .map_err(|error| unwritable(&error))
    }
}

/// No responder answers such a mail (RFC 3834, section 5).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The machine's roots of trust (those of `SSL_CERT_FILE` where it is set), as for every other server.
fn tls_parameters(host: &str) -> Result<TlsParameters, smtp::Error> {
    let builder = TlsParameters::builder(host.to_owned()).certificate_store(CertificateStore::None);
    let native = rustls_native_certs::load_native_certs().certs;
    let roots = native.into_iter().filter_map(|root| Certificate::from_der(root.to_vec()).ok());
    roots.fold(builder, TlsParametersBuilder::add_root_certificate).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_that_is_not_there_is_told_from_what_the_operator_may_mend() {
        let lasting = [
            (550, "5.1.1 no such mailbox"),
            (553, "5.1.3 bad address"),
            (552, "5.2.2 full for good"),
            (550, "no such user here"),
            (551, ""),
        ];
        for (code, words) in lasting {
            assert!(blames_recipient(code, words), "{code} {words}");
        }
        let mendable = [
            (535, "5.7.8 wrong password"),
            (550, "5.7.1 relay access denied"),
            (550, "5.1.8 sender unknown"),
            (554, "5.7.1 blocked"),
            (554, "no SMTP service here"),
            (530, "authenticate first"),
            (503, "bad sequence"),
        ];
        for (code, words) in mendable {
            assert!(!blames_recipient(code, words), "{code} {words}");
        }
    }
}
