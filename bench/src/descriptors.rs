//! What a process has open: its connections to the database, which its pools bound, apart from everything else.

use std::{collections::HashSet, fs};

use crate::{Error, database::Database};

/// What is open now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Connections to the database.
    pub database: u32,
    /// Files and connections that have nothing to do with it.
    pub others: u32,
}

/// By what a connection to the database is known.
enum Mark {
    /// The file: each connection to SQLite opens it once. What lies beside it counts for nothing.
    File(String),
    /// Inodes of the sockets that lead to the server's port.
    Sockets(HashSet<String>),
}

impl Open {
    /// Of a running process.
    ///
    /// # Errors
    /// It has ended, or this is not Linux.
    pub fn of(pid: i32, database: &Database) -> Result<Self, Error> {
        let (address, _) = database.url.split_once('?').unwrap_or((&database.url, ""));
        let mark = match address.strip_prefix("sqlite://") {
            Some(file) => Mark::File(file.to_owned()),
            None => {
                Mark::Sockets(sockets(&fs::read_to_string(format!("/proc/{pid}/net/tcp"))?, port(address)?))
            }
        };
        let links = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
        // What was closed meanwhile is not there.
        let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
        Ok(mark.tell(links.map(|link| link.to_string_lossy().into_owned())))
    }
}

impl Mark {
    fn tell(&self, links: impl Iterator<Item = String>) -> Open {
        let mut open = Open { database: 0, others: 0 };
        for link in links {
            let rest = match self {
                Self::File(file) => link.strip_prefix(file.as_str()),
                Self::Sockets(inodes) => inodes.contains(&link).then_some(""),
            };
            match rest {
                Some("") => open.database += 1,
                Some(_) => {}
                None => open.others += 1,
            }
        }
        open
    }
}

/// `postgres://user@127.0.0.1:5432/name`
fn port(address: &str) -> Result<u16, Error> {
    let (host, _) = address.rsplit_once('/').ok_or("the URL names no database")?;
    Ok(host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(5432))
}

/// What links to sockets with this port at the other end are called (proc(5), `/proc/net/tcp`).
fn sockets(table: &str, port: u16) -> HashSet<String> {
    let there = format!(":{port:04X}");
    let inode = |line: &str| {
        let mut fields = line.split_whitespace();
        let remote = fields.nth(2)?;
        fields.nth(6).filter(|_| remote.ends_with(&there)).map(|inode| format!("socket:[{inode}]"))
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        \x20  0: 0100007F:9A3C 0100007F:1538 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n\
        \x20  1: 0100007F:1538 0100007F:9A3C 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n";

    fn told(mark: &Mark, links: &[&str]) -> (u32, u32) {
        let open = mark.tell(links.iter().map(|link| (*link).to_owned()));
        (open.database, open.others)
    }

    #[test]
    fn connections_to_the_database_are_told_from_all_else() {
        let server = Mark::Sockets(sockets(TABLE, 5432));
        assert_eq!(told(&server, &["socket:[4711]", "socket:[4712]", "/dev/null"]), (1, 2));
        let file = Mark::File("/tmp/a/bench.sqlite".to_owned());
        let links =
            ["/tmp/a/bench.sqlite", "/tmp/a/bench.sqlite-wal", "/tmp/a/bench.sqlite-shm", "socket:[4711]"];
        assert_eq!(told(&file, &links), (1, 1));
    }

    #[test]
    fn the_port_is_that_of_the_url() {
        assert_eq!(port("postgres://postgres@127.0.0.1:6543/bench").unwrap(), 6543);
        assert_eq!(port("postgres://postgres@127.0.0.1/bench").unwrap(), 5432);
    }
}
