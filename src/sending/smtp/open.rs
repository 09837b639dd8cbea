//! From an endpoint to a connection that may send: connect, greeting, EHLO, STARTTLS, AUTH.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::{Instant, timeout_at};
use tokio_util::either::Either;
use zeroize::Zeroizing;

use super::features::Features;
use super::outcome::{Broken, OpenError, Phase};
use super::reply::Reply;
use super::wire::Wire;
use super::{Endpoint, SmtpConnection, Timeouts};
use crate::net::{Dialer, VerifyError};

/// TLS from the first byte (RFC 8314, section 3.3).
const IMPLICIT_TLS: u16 = 465;

impl SmtpConnection {
    /// Opens a connection that is ready for MAIL.
    ///
    /// # Errors
    /// Whatever went wrong, with the server's words where it was a refusal. Nothing was sent.
    pub async fn open(
        dialer: &Dialer,
        endpoint: &Endpoint<'_>,
        timeouts: &Timeouts,
    ) -> Result<Self, OpenError> {
        let until = Instant::now() + timeouts.before_data;
        let mut opening = Opening::dial(dialer, endpoint, timeouts, until).await?;
        opening.greet().await?;
        let (mut opening, features) = opening.secure_if_needed(dialer).await?;
        opening.authenticate(features, dialer.policy().allow_plain_mail).await?;
        Ok(Self {
            wire: opening.wire,
            features,
            timeouts: *timeouts,
            first_until: Some(until),
            transaction: 0,
            ahead: None,
            needs_reset: false,
            broken: false,
            in_one_chunk: false,
            served: 0,
            scratch: Vec::new(),
        })
    }
}

/// Checks a credential as a message would use it, up to AUTH, and says goodbye.
///
/// # Errors
/// The word for what failed.
pub async fn verify_smtp(
    dialer: &Dialer,
    endpoint: &Endpoint<'_>,
    timeouts: &Timeouts,
) -> Result<(), VerifyError> {
    let opened = SmtpConnection::open(dialer, endpoint, timeouts).await;
    opened.map_err(|error| error.verify_error())?.quit().await;
    Ok(())
}

struct Opening<'a> {
    wire: Wire,
    endpoint: Endpoint<'a>,
    timeouts: Timeouts,
    until: Instant,
}

impl<'a> Opening<'a> {
    async fn dial(
        dialer: &Dialer,
        endpoint: &Endpoint<'a>,
        timeouts: &Timeouts,
        until: Instant,
    ) -> Result<Self, OpenError> {
        let within = timeouts.connect.min(timeouts.before_data);
        let tcp = dialer.connect(endpoint.host, endpoint.port, within).await?;
        let stream = if endpoint.port == IMPLICIT_TLS {
            let left = until.duration_since(Instant::now()).min(timeouts.command);
            Either::Right(Box::new(dialer.wrap_tls(endpoint.host, tcp, left).await?))
        } else {
            Either::Left(tcp)
        };
        Ok(Self { wire: Wire::new(stream), endpoint: *endpoint, timeouts: *timeouts, until })
    }

    async fn greet(&mut self) -> Result<(), OpenError> {
        let reply = self.read().await?;
        expect(Phase::Greeting, 220, reply).map(|_| ())
    }

    /// EHLO, and once more after STARTTLS, for what was said in clear counts for nothing (RFC 3207, section 4.2).
    async fn secure_if_needed(mut self, dialer: &Dialer) -> Result<(Self, Features), OpenError> {
        let features = self.hello().await?;
        if self.wire.is_secure() {
            return Ok((self, features));
        }
        if !features.starttls {
            let plain = dialer.policy().allow_plain_mail;
            return if plain { Ok((self, features)) } else { Err(OpenError::NoTls) };
        }
        let reply = self.ask(b"STARTTLS\r\n").await?;
        expect(Phase::StartTls, 220, reply)?;
        let mut secured = self.start_tls(dialer).await?;
        let features = secured.hello().await?;
        Ok((secured, features))
    }

    async fn start_tls(self, dialer: &Dialer) -> Result<Self, OpenError> {
        if !self.wire.is_in_step() {
            return Err(Broken::Protocol.into());
        }
        let within = self.phase_end().duration_since(Instant::now());
        let wire = self.wire.secure(dialer, self.endpoint.host, within).await?;
        Ok(Self { wire, ..self })
    }

    async fn hello(&mut self) -> Result<Features, OpenError> {
        let command = format!("EHLO {}\r\n", self.our_name());
        let reply = self.ask(command.as_bytes()).await?;
        Ok(Features::read(&expect(Phase::Ehlo, 250, reply)?))
    }

    /// An address literal (RFC 5321, section 4.1.4): a submitting client has no name of its own.
    fn our_name(&self) -> String {
        match self.wire.tcp().local_addr().map(|address| address.ip().to_canonical()) {
            Ok(IpAddr::V4(address)) => format!("[{address}]"),
            Ok(IpAddr::V6(address)) => format!("[IPv6:{address}]"),
            Err(_) => "[127.0.0.1]".to_owned(),
        }
    }

    async fn authenticate(&mut self, features: Features, may_go_without: bool) -> Result<(), OpenError> {
        let reply = if features.auth_plain {
            let reply = self.auth_plain().await?;
            // 504: the mechanism was offered and yet is not known (RFC 4954, section 4).
            if reply.code() == 504 && features.auth_login { self.auth_login().await? } else { reply }
        } else if features.auth_login {
            self.auth_login().await?
        } else if may_go_without {
            return Ok(());
        } else {
            return Err(OpenError::NoAuth);
        };
        expect(Phase::Auth, 235, reply).map(|_| ())
    }

    /// RFC 4616, with the initial response of RFC 4954. Over 12,288 bytes would need a line of its own.
    async fn auth_plain(&mut self) -> Result<Reply, Broken> {
        let Endpoint { username, password, .. } = self.endpoint;
        let identity = Zeroizing::new(format!("\0{username}\0{password}"));
        self.ask_secret("AUTH PLAIN ", &identity).await
    }

    async fn auth_login(&mut self) -> Result<Reply, Broken> {
        let Endpoint { username, password, .. } = self.endpoint;
        let mut reply = self.ask(b"AUTH LOGIN\r\n").await?;
        for answer in [username, password] {
            if reply.code() != 334 {
                return Ok(reply);
            }
            reply = self.ask_secret("", answer).await?;
        }
        Ok(reply)
    }

    async fn ask_secret(&mut self, command: &str, secret: &str) -> Result<Reply, Broken> {
        let encoded = Zeroizing::new(STANDARD.encode(secret));
        let line = Zeroizing::new(format!("{command}{}\r\n", encoded.as_str()));
        self.ask(line.as_bytes()).await
    }

    /// One command, one reply, within the phase's time.
    async fn ask(&mut self, command: &[u8]) -> Result<Reply, Broken> {
        if !self.wire.is_in_step() {
            return Err(Broken::Protocol);
        }
        let end = self.phase_end();
        let written = timeout_at(end, self.wire.write(command)).await;
        // A server that refuses and closes may have answered before our command failed to go out.
        let written = written.map_err(|_| Broken::Timeout)?;
        let reply = timeout_at(end, self.wire.read_reply()).await.map_err(|_| Broken::Timeout)?;
        reply.map_err(|error| written.err().unwrap_or(error))
    }

    async fn read(&mut self) -> Result<Reply, Broken> {
        timeout_at(self.phase_end(), self.wire.read_reply()).await.map_err(|_| Broken::Timeout)?
    }

    fn phase_end(&self) -> Instant {
        self.until.min(Instant::now() + self.timeouts.command)
    }
}

fn expect(phase: Phase, code: u16, reply: Reply) -> Result<Reply, OpenError> {
    if reply.code() == code {
        Ok(reply)
    } else if reply.is_temporary() || reply.is_permanent() {
        Err(OpenError::Refused { phase, reply })
    } else {
        Err(Broken::Protocol.into())
    }
}
