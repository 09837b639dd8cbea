//! One connection to the mailbox.

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::{Mail, State, Tls, Trouble};

/// Between two bytes of a [`Trouble::Drip`].
const DRIP: Duration = Duration::from_millis(20);

/// How far a connection is from TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    /// There is none.
    Clear,
    /// STARTTLS is offered, and nobody is let in before it.
    Offered,
    /// It is there. `STARTTLS` has been said, so nobody is greeted again.
    Upgraded,
    /// It is there from the first byte.
    Secure,
}

/// Speaks until the client leaves or a trouble ends it.
pub(super) async fn serve(stream: TcpStream, state: Arc<Mutex<State>>, tls: Option<(Tls, TlsAcceptor)>) {
    // A client that goes away in the middle is what tests do.
    secure_and_converse(stream, &state, tls).await.ok();
}

async fn secure_and_converse(
    stream: TcpStream,
    state: &Mutex<State>,
    tls: Option<(Tls, TlsAcceptor)>,
) -> io::Result<()> {
    let Some((tls, acceptor)) = tls else {
        return converse(BufReader::new(stream), state, Security::Clear).await.map(drop);
    };
    if tls == Tls::Implicit {
        let stream = BufReader::new(acceptor.accept(stream).await?);
        return converse(stream, state, Security::Secure).await.map(drop);
    }
    let Some(asked) = converse(BufReader::new(stream), state, Security::Offered).await? else {
        return Ok(());
    };
    let stream = BufReader::new(acceptor.accept(asked.into_inner()).await?);
    converse(stream, state, Security::Upgraded).await.map(drop)
}

/// Speaks until the end, or until STARTTLS: then the connection is given back.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut io: BufReader<S>,
    state: &Mutex<State>,
    security: Security,
) -> io::Result<Option<BufReader<S>>> {
    if security != Security::Upgraded {
        if let Some(trouble) = next_trouble(state, "GREETING") {
            meet(&mut io, "*", trouble, state).await?;
            return Ok(None);
        }
        let greeting = state.lock().greeting.clone();
        say(&mut io, &format!("{greeting}\r\n")).await?;
    }
    loop {
        let mut line = String::new();
        if io.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let Some((tag, command)) = line.trim_end().split_once(' ') else { continue };
        let upper = command.to_uppercase();
        note(state, command, &upper, security);
        if let Some(trouble) = next_trouble(state, &upper) {
            if !meet(&mut io, tag, trouble, state).await? {
                return Ok(None);
            }
            continue;
        }
        if upper == "STARTTLS" && security == Security::Offered {
            say(&mut io, &format!("{tag} OK begin\r\n")).await?;
            return Ok(Some(io));
        }
        let answer = answer(state, tag, command, security);
        io.write_all(&answer).await?;
        io.flush().await?;
        if upper.starts_with("LOGOUT") {
            return Ok(None);
        }
    }
}

/// Keeps what was said, but for passwords.
fn note(state: &Mutex<State>, command: &str, upper: &str, security: Security) {
    let mut state = state.lock();
    if upper.starts_with("LOGIN") {
        state.commands.push("LOGIN".to_owned());
        state.clear_logins += usize::from(matches!(security, Security::Clear | Security::Offered));
    } else {
        state.commands.push(command.to_owned());
    }
}

async fn say<S: AsyncWrite + Unpin>(io: &mut S, text: &str) -> io::Result<()> {
    io.write_all(text.as_bytes()).await?;
    io.flush().await
}

fn next_trouble(state: &Mutex<State>, command: &str) -> Option<Trouble> {
    let mut state = state.lock();
    let found =
        state.troubles.iter_mut().find(|(start, _, left)| *left > 0 && command.starts_with(start.as_str()));
    let (_, trouble, left) = found?;
    if *left != u32::MAX {
        *left -= 1;
    }
    Some(*trouble)
}

/// `false`: the connection ends.
async fn meet<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut BufReader<S>,
    tag: &str,
    trouble: Trouble,
    state: &Mutex<State>,
) -> io::Result<bool> {
    match trouble {
        Trouble::Refuse => say(io, &format!("{tag} NO not now\r\n")).await.map(|()| true),
        Trouble::Garbage => say(io, "\u{1}\u{2} what )( }{ \r\n\r\n* * *\r\n").await.map(|()| true),
        Trouble::Bye => say(io, "* BYE going down\r\n").await.map(|()| false),
        Trouble::Close => Ok(false),
        Trouble::HugeLiteral => {
            say(io, "* 1 FETCH (UID 1 BODY[] {900000000}\r\n").await?;
            wait_for_the_end(io).await.map(|()| false)
        }
        Trouble::EndlessLine => {
            let piece = "a".repeat(64 * 1024);
            while say(io, &piece).await.is_ok() {
                state.lock().written += piece.len() as u64;
            }
            Ok(false)
        }
        Trouble::Drip => {
            for byte in "* OK still looking\r\n".chars().cycle() {
                say(io, byte.encode_utf8(&mut [0; 4])).await?;
                tokio::time::sleep(DRIP).await;
            }
            Ok(false)
        }
        Trouble::Hang => wait_for_the_end(io).await.map(|()| false),
    }
}

async fn wait_for_the_end<S: AsyncRead + Unpin>(io: &mut BufReader<S>) -> io::Result<()> {
    let mut line = String::new();
    while io.read_line(&mut line).await? > 0 {}
    Ok(())
}

fn answer(state: &Mutex<State>, tag: &str, command: &str, security: Security) -> Vec<u8> {
    let (state, upper) = (state.lock(), command.to_uppercase());
    let upper = upper.as_str();
    let done = format!("{tag} OK done\r\n");
    let text = if upper.starts_with("CAPABILITY") {
        let more = if security == Security::Offered { " STARTTLS LOGINDISABLED" } else { "" };
        format!("* CAPABILITY IMAP4rev1{more}\r\n{done}")
    } else if upper.starts_with("LOGIN") && security == Security::Offered {
        format!("{tag} NO [PRIVACYREQUIRED] not in clear\r\n")
    } else if upper.starts_with("LOGIN") {
        let good =
            state.password.as_ref().is_none_or(|password| command.ends_with(&format!("\"{password}\"")));
        if good { done } else { format!("{tag} NO [AUTHENTICATIONFAILED] no\r\n") }
    } else if upper.starts_with("EXAMINE") || upper.starts_with("SELECT") {
        format!(
            "* {} EXISTS\r\n* OK [UIDVALIDITY {}] valid\r\n* OK [UIDNEXT {}] next\r\n{tag} OK [READ-ONLY] done\r\n",
            state.mails.len(),
            state.uid_validity,
            state.next_uid
        )
    } else if upper.starts_with("UID SEARCH") {
        format!("* SEARCH{}\r\n{done}", search(&state.mails, upper))
    } else if upper.starts_with("UID FETCH") {
        let mut bytes = fetch(&state.mails, upper);
        bytes.extend_from_slice(done.as_bytes());
        return bytes;
    } else if upper.starts_with("LOGOUT") {
        format!("* BYE bye\r\n{done}")
    } else if upper.starts_with("NOOP") {
        done
    } else {
        format!("{tag} BAD unknown\r\n")
    };
    text.into_bytes()
}

/// `UID n:*`, whose end is the last mail even where that lies before n; anything else finds all.
fn search(mails: &[Mail], command: &str) -> String {
    let from = command.split(" UID ").nth(1).and_then(|range| range.split(':').next()?.parse::<u32>().ok());
    let last = mails.last().map(|mail| mail.uid);
    let found =
        mails.iter().filter(|mail| from.is_none_or(|from| mail.uid >= from || Some(mail.uid) == last));
    let uids: Vec<String> = found.map(|mail| mail.uid.to_string()).collect();
    if uids.is_empty() { String::new() } else { format!(" {}", uids.join(" ")) }
}

fn fetch(mails: &[Mail], command: &str) -> Vec<u8> {
    let list = command.split(' ').nth(2).unwrap_or_default();
    let wanted: Vec<u32> = list.split(',').filter_map(|uid| uid.parse().ok()).collect();
    let most = command
        .split("<0.")
        .nth(1)
        .and_then(|rest| rest.split('>').next()?.parse::<usize>().ok())
        .unwrap_or(usize::MAX);
    let headers_only = command.contains("[HEADER]");
    let mut answer = Vec::new();
    for (number, mail) in (1..).zip(mails).filter(|(_, mail)| wanted.contains(&mail.uid)) {
        let end =
            mail.bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(mail.bytes.len(), |at| at + 4);
        let part = if headers_only { mail.bytes.get(..end).unwrap_or_default() } else { &mail.bytes };
        let part = part.get(..part.len().min(most)).unwrap_or_default();
        let section = if headers_only { "HEADER" } else { "" };
        let head = format!("* {number} FETCH (UID {} BODY[{section}]<0> {{{}}}\r\n", mail.uid, part.len());
        answer.extend_from_slice(head.as_bytes());
        answer.extend_from_slice(part);
        answer.extend_from_slice(b")\r\n");
    }
    answer
}
