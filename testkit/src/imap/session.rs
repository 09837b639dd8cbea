//! One connection to the mailbox.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{Mail, State, Trouble};

/// Speaks until the client leaves or a trouble ends it.
pub(super) async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    // A client that goes away in the middle is what tests do.
    converse(BufReader::new(stream), &state).await.ok();
}

async fn converse(mut io: BufReader<TcpStream>, state: &Mutex<State>) -> io::Result<()> {
    let greeting = state.lock().greeting.clone();
    say(&mut io, &format!("{greeting}\r\n")).await?;
    loop {
        let mut line = String::new();
        if io.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let Some((tag, command)) = line.trim_end().split_once(' ') else { continue };
        let upper = command.to_uppercase();
        let kept = if upper.starts_with("LOGIN") { "LOGIN" } else { command };
        state.lock().commands.push(kept.to_owned());
        if let Some(trouble) = next_trouble(state, &upper) {
            if !meet(&mut io, tag, trouble).await? {
                return Ok(());
            }
            continue;
        }
        let answer = answer(state, tag, command, &upper);
        io.write_all(&answer).await?;
        if upper.starts_with("LOGOUT") {
            return Ok(());
        }
    }
}

async fn say(io: &mut BufReader<TcpStream>, text: &str) -> io::Result<()> {
    io.write_all(text.as_bytes()).await
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
async fn meet(io: &mut BufReader<TcpStream>, tag: &str, trouble: Trouble) -> io::Result<bool> {
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
            while say(io, &"a".repeat(64 * 1024)).await.is_ok() {}
            Ok(false)
        }
        Trouble::Hang => wait_for_the_end(io).await.map(|()| false),
    }
}

async fn wait_for_the_end(io: &mut BufReader<TcpStream>) -> io::Result<()> {
    let mut line = String::new();
    while io.read_line(&mut line).await? > 0 {}
    Ok(())
}

fn answer(state: &Mutex<State>, tag: &str, command: &str, upper: &str) -> Vec<u8> {
    let state = state.lock();
    let done = format!("{tag} OK done\r\n");
    let text = if upper.starts_with("CAPABILITY") {
        format!("* CAPABILITY IMAP4rev1\r\n{done}")
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
