//! The dialogue on one connection. Every wait for the client flushes first; every point where a test may
//! hold the session comes before the reply it withholds. RFC 5321, with PIPELINING (RFC 2920).

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::auth::{self, Auth};
use super::behaviour::{Behaviour, Role, Stage};
use super::hold::{Place, Point};
use super::interruption::{Interruption, Moment};
use super::mail::{Mail, path};
use super::server::{Chunking, Greeting, Shared};
use super::store::{Arrival, Body};
use super::tls::Tls;
use super::wire::{Duplex, Wire};

/// Why a session is over.
pub(super) enum End {
    /// The sink closes, or the client did.
    Closed,
    /// The connection broke.
    Broken,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

type Flow<T = ()> = Result<T, End>;

/// One connection's state.
pub(super) struct Session {
    shared: Arc<Shared>,
    wire: Option<Wire>,
    id: u64,
    tls: bool,
    user: Option<String>,
    mail: Option<Mail>,
    accepted: u64,
}

impl Session {
    /// Runs a connection from its greeting to its end.
    pub(super) async fn run(shared: Arc<Shared>, stream: TcpStream, id: u64) {
        let mut session = Self { shared, wire: None, id, tls: false, user: None, mail: None, accepted: 0 };
        let end = session.converse(stream).await;
        if let (Some(wire), Err(End::Closed)) = (session.wire.take(), end) {
            wire.close().await;
        }
        session.shared.store.update(id, |connection| connection.closed_at = Some(Instant::now()));
    }

    async fn converse(&mut self, stream: TcpStream) -> Flow {
        stream.set_nodelay(true)?;
        let stream: Box<dyn Duplex> = Box::new(stream);
        if self.shared.options.tls == Tls::Implicit {
            self.secure(stream).await?;
        } else {
            self.connect(stream);
        }
        self.greet().await?;
        loop {
            let ahead = !self.wire()?.is_answered();
            let line = self.line().await?;
            self.command(&line, ahead).await?;
        }
    }

    fn connect(&mut self, stream: Box<dyn Duplex>) {
        self.wire = Some(Wire::new(stream, self.shared.options.max_size, Arc::clone(&self.shared.drip)));
    }

    async fn secure(&mut self, stream: Box<dyn Duplex>) -> Flow {
        let acceptor = self.shared.acceptor.clone().ok_or(End::Closed)?;
        self.connect(Box::new(acceptor.accept(stream).await?));
        self.tls = true;
        self.shared.store.update(self.id, |connection| connection.tls = true);
        Ok(())
    }

    /// The connection's bytes; there are none only while TLS is being agreed on.
    fn wire(&mut self) -> Flow<&mut Wire> {
        self.wire.as_mut().ok_or(End::Closed)
    }

    fn reply(&mut self, text: &str) -> Flow {
        self.wire()?.reply(text);
        // RFC 5321 section 3.8: after 421 the server closes.
        if text.starts_with("421") { Err(End::Closed) } else { Ok(()) }
    }

    /// The usual answer, or what interrupts the conversation here.
    fn answer(&mut self, at: Moment, usual: &str) -> Flow {
        match self.shared.interruptions.next(at, self.accepted) {
            Some(words) => self.interrupt(&words),
            None => self.reply(usual),
        }
    }

    fn interrupt(&mut self, words: &[u8]) -> Flow {
        self.wire()?.raw(words);
        if Interruption::closes(words) { Err(End::Closed) } else { Ok(()) }
    }

    async fn line(&mut self) -> Flow<BytesMut> {
        self.wire()?.line().await?.ok_or(End::Closed)
    }

    async fn greet(&mut self) -> Flow {
        self.pass(Point::AfterConnect).await?;
        let banner = format!("220 {} ESMTP testkit sink", self.shared.options.name);
        match self.shared.next_greeting() {
            Greeting::Banner => self.reply(&banner),
            Greeting::Delayed(time) => {
                self.linger(sleep(time)).await?;
                self.reply(&banner)
            }
            Greeting::Silent => self.linger(pending::<()>()).await,
            Greeting::Reply(line) => {
                self.reply(&line)?;
                if line.starts_with('2') { Ok(()) } else { Err(End::Closed) }
            }
            Greeting::Raw(bytes) => {
                self.wire()?.raw(&bytes);
                Ok(())
            }
            Greeting::Close => Err(End::Closed),
        }
    }

    async fn command(&mut self, line: &[u8], ahead: bool) -> Flow {
        let line = String::from_utf8_lossy(line);
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let verb = verb.to_ascii_uppercase();
        self.shared.store.command(self.id, if verb == "AUTH" { "AUTH" } else { &line }, ahead);
        match verb.as_str() {
            "MAIL" => self.mail(rest).await,
            "RCPT" => self.rcpt(rest).await,
            "DATA" => self.data().await,
            "BDAT" if matches!(self.shared.options.chunking, Chunking::Offered | Chunking::PutOff) => {
                self.chunk(rest).await
            }
            "EHLO" => self.ehlo(),
            "HELO" => self.reply("250 sink"),
            "RSET" => {
                self.mail = None;
                self.reply("250 2.0.0 reset")
            }
            "NOOP" => self.reply("250 2.0.0 ok"),
            "STARTTLS" => self.starttls().await,
            "AUTH" => self.auth(rest).await,
            "QUIT" => {
                self.reply("221 2.0.0 bye")?;
                Err(End::Closed)
            }
            _ => self.reply("500 5.5.2 no such command"),
        }
    }

    fn ehlo(&mut self) -> Flow {
        self.mail = None;
        let options = &self.shared.options;
        let mut lines =
            vec![options.name.clone(), "8BITMIME".to_owned(), format!("SIZE {}", options.max_size)];
        if options.pipelining {
            lines.push("PIPELINING".to_owned());
        }
        if options.chunking != Chunking::None {
            lines.push("CHUNKING".to_owned());
        }
        if options.tls == Tls::StartTls && !self.tls {
            lines.push("STARTTLS".to_owned());
        }
        if *self.shared.auth.lock() != Auth::Open {
            lines.push("AUTH PLAIN LOGIN".to_owned());
        }
        for line in &lines {
            self.wire()?.reply(&format!("250-{line}"));
        }
        self.answer(Moment::Ehlo, "250 ENHANCEDSTATUSCODES")
    }

    async fn starttls(&mut self) -> Flow {
        if self.shared.options.tls != Tls::StartTls || self.tls {
            return self.reply("502 5.5.1 not offered");
        }
        self.reply("220 2.0.0 go ahead")?;
        let injection = self.shared.options.injection.clone();
        self.wire()?.raw(&injection);
        self.wire()?.flush().await?;
        let wire = self.wire.take().ok_or(End::Closed)?;
        self.user = None;
        self.mail = None;
        self.secure(wire.into_stream()).await
    }

    async fn auth(&mut self, arguments: &str) -> Flow {
        let (mechanism, initial) = arguments.split_once(' ').unwrap_or((arguments, ""));
        let credentials = if mechanism.eq_ignore_ascii_case("PLAIN") {
            let response = self.response(initial, "334 ").await?;
            auth::plain(&response)
        } else if mechanism.eq_ignore_ascii_case("LOGIN") {
            let user = self.response(initial, "334 VXNlcm5hbWU6").await?;
            let password = self.response("", "334 UGFzc3dvcmQ6").await?;
            auth::text(&user).zip(auth::text(&password))
        } else {
            return self.reply("504 5.5.4 no such mechanism");
        };
        let auth = self.shared.auth.lock().clone();
        let (good, reply) = auth.check(credentials.as_ref());
        if good {
            self.user = credentials.map(|(user, _)| user);
            let user = self.user.clone();
            self.shared.store.update(self.id, |connection| connection.user = user);
        }
        self.reply(reply)
    }

    /// What came with the command, or else the answer to a challenge.
    async fn response(&mut self, initial: &str, challenge: &str) -> Flow<String> {
        if !initial.is_empty() {
            return Ok(initial.to_owned());
        }
        self.reply(challenge)?;
        let line = self.line().await?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    async fn mail(&mut self, arguments: &str) -> Flow {
        let Some(from) = path(arguments, "FROM:") else {
            return self.reply("501 5.5.4 MAIL FROM:<address>");
        };
        if self.mail.is_some() {
            return self.reply("503 5.5.1 one at a time");
        }
        if self.user.is_none() && *self.shared.auth.lock() != Auth::Open {
            return self.reply("530 5.7.0 authenticate first");
        }
        let behaviour = self.shared.scripts.next(Role::Sender, from);
        self.mail = Some(Mail { from: from.to_owned(), ..Mail::default() });
        self.pass(Point::AfterMail).await?;
        if let Some(reply) = behaviour.reply_at(Stage::Mail) {
            self.mail = None;
            return self.reply(reply);
        }
        close_if(&behaviour, Stage::Mail)?;
        self.answer(Moment::Mail, "250 2.1.0 ok")
    }

    async fn rcpt(&mut self, arguments: &str) -> Flow {
        let Some(to) = path(arguments, "TO:").filter(|to| !to.is_empty()) else {
            return self.reply("501 5.5.4 RCPT TO:<address>");
        };
        let Some(mail) = &mut self.mail else {
            return self.reply("503 5.5.1 MAIL first");
        };
        let behaviour = self.shared.scripts.next(Role::Recipient, to);
        mail.recipients.push(to.to_owned());
        self.pass(Point::AfterRcpt).await?;
        close_if(&behaviour, Stage::Rcpt)?;
        let refusal = behaviour.reply_at(Stage::Rcpt).map(str::to_owned);
        let mail = self.mail.as_mut().ok_or(End::Closed)?;
        if let Some(reply) = refusal {
            mail.recipients.pop();
            return self.reply(&reply);
        }
        mail.behaviours.push(behaviour);
        self.answer(Moment::Rcpt, "250 2.1.5 ok")
    }

    async fn data(&mut self) -> Flow {
        let Some(behaviour) = self.mail.as_mut().and_then(Mail::leading_behaviour) else {
            return self.reply("503 5.5.1 no valid recipients");
        };
        self.pass(Point::BeforeDataReply).await?;
        close_if(&behaviour, Stage::Data)?;
        if let Some(reply) = behaviour.reply_at(Stage::Data) {
            self.mail = None;
            return self.reply(reply);
        }
        self.answer(Moment::Data, "354 go on")?;
        if !self.wire()?.body_begins().await? {
            return Err(End::Closed);
        }
        self.pass(Point::MidBody).await?;
        if behaviour == Behaviour::CloseMidBody {
            return Err(End::Closed);
        }
        let body = self.wire()?.body().await?.ok_or(End::Closed)?;
        self.shared.store.command(self.id, ".", false);
        self.finish(&behaviour, Body::Stuffed(&body)).await
    }

    /// A whole message, which ends by its length (RFC 3030, section 2). What a client sent behind the command is taken whatever
    /// comes of it. One chunk is all that this sink knows of a message.
    async fn chunk(&mut self, arguments: &str) -> Flow {
        let mut words = arguments.split_ascii_whitespace();
        let length = words.next().and_then(|length| length.parse().ok());
        let (Some(length), true) = (length, words.next().is_some_and(|it| it.eq_ignore_ascii_case("LAST")))
        else {
            return self.reply("501 5.5.4 BDAT length LAST");
        };
        let behaviour = self.mail.as_mut().and_then(Mail::leading_behaviour);
        if let Some(behaviour) = &behaviour {
            self.pass(Point::BeforeDataReply).await?;
            close_if(behaviour, Stage::Data)?;
            if !self.wire()?.body_begins().await? {
                return Err(End::Closed);
            }
            self.pass(Point::MidBody).await?;
            if *behaviour == Behaviour::CloseMidBody {
                return Err(End::Closed);
            }
        }
        let body = self.wire()?.exactly(length).await?.ok_or(End::Closed)?;
        let Some(behaviour) = behaviour else {
            return self.reply("503 5.5.1 no valid recipients");
        };
        let put_off = self.shared.options.chunking == Chunking::PutOff;
        let put_off = put_off.then_some("451 4.4.2 timeout waiting for client input");
        if let Some(reply) = put_off.or_else(|| behaviour.reply_at(Stage::Data)) {
            self.mail = None;
            return self.reply(reply);
        }
        self.finish(&behaviour, Body::Plain(&body)).await
    }

    /// The message was read to its end: stores the message, then answers as asked.
    async fn finish(&mut self, behaviour: &Behaviour, body: Body<'_>) -> Flow {
        let refusal = behaviour.reply_at(Stage::Dot);
        let interruption = self.shared.interruptions.next(Moment::Dot, self.accepted);
        let shared = Arc::clone(&self.shared);
        // Made before the message shows, so that a release right after that is not missed.
        let released = shared.silence.notified();
        let mail = self.mail.as_ref().ok_or(End::Closed)?;
        let number = self.shared.store.arrive(&Arrival {
            connection: self.id,
            from: &mail.from,
            recipients: &mail.recipients,
            body,
            refused: refusal.is_some() || interruption.as_deref().is_some_and(Interruption::refuses),
        });
        self.pass(Point::AfterDot).await?;
        self.mail = None;
        close_if(behaviour, Stage::Dot)?;
        match behaviour {
            Behaviour::Silent => self.linger(released).await?,
            Behaviour::Slow(time) => self.linger(sleep(*time)).await?,
            Behaviour::Garbage => return self.interrupt(b"\x00\xffno reply of SMTP\r\n"),
            Behaviour::Accept | Behaviour::Reply { .. } | Behaviour::Close(_) | Behaviour::CloseMidBody => {}
        }
        match (interruption, refusal) {
            (Some(words), _) => return self.interrupt(&words),
            (None, Some(reply)) => return self.reply(reply),
            (None, None) => self.accepted += 1,
        }
        self.reply(&format!("250 2.0.0 ok: queued as sink-{number}"))?;
        let enough = self.shared.interruptions.next(Moment::Between, self.accepted);
        enough.map_or(Ok(()), |words| self.interrupt(&words))
    }

    /// Waits here if a test holds this point.
    async fn pass(&mut self, point: Point) -> Flow {
        let (sender, recipients) =
            self.mail.as_ref().map_or(("", [].as_slice()), |mail| (mail.from.as_str(), &mail.recipients));
        let place = Place { connection: self.id, sender, recipients };
        let Some(gate) = self.shared.holds.find(point, &place) else {
            return Ok(());
        };
        let mut goes_on = false;
        self.linger(async { goes_on = gate.pass().await }).await?;
        if goes_on { Ok(()) } else { Err(End::Closed) }
    }

    /// Waits for `end`, with what is queued sent before; over when the client goes away meanwhile.
    async fn linger(&mut self, end: impl Future<Output = ()>) -> Flow {
        let wire = self.wire()?;
        wire.flush().await?;
        tokio::select! {
            biased;
            () = end => Ok(()),
            () = wire.peer_closed() => Err(End::Closed),
        }
    }
}

fn close_if(behaviour: &Behaviour, stage: Stage) -> Flow {
    if *behaviour == Behaviour::Close(stage) { Err(End::Closed) } else { Ok(()) }
}
