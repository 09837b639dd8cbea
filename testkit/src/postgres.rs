//! A PostgreSQL server of our own, in a temporary directory and on a free port of 127.0.0.1, for tests and benchmarks that
//! restart it or count what it uses. It runs as it comes from `initdb`, fsync on, but for what the caller asks for.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Uid, User};
use tempfile::TempDir;

use crate::child::{Builder, Child, free_port};

/// Where Debian keeps the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// How long it may take to begin or end.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running server. Dropping it kills it; [`Self::stop`] ends it in order.
pub struct Postgres {
    builder: Builder,
    child: Child,
    port: u16,
    _dir: TempDir,
}

/// The folder with the server's programs: that of the newest version in Debian's place. `None`: it is not installed.
pub fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).ok()?.flatten().map(|entry| entry.path().join("bin"));
    let version = |path: &PathBuf| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    versions.filter(|path| path.join("initdb").exists()).max_by_key(version)
}

impl Postgres {
    /// Makes and starts a server with the programs in this folder and these settings (`fsync=off`).
    ///
    /// # Errors
    /// It cannot be made or does not start; what it said is shown. As root, there is no user `postgres`.
    pub async fn start(programs: &Path, settings: &[&str]) -> io::Result<Self> {
        let dir = TempDir::with_prefix("postgres-")?;
        let as_owner = owner(dir.path())?;
        let data = dir.path().join("data");
        let initdb = as_owner(Child::builder(programs.join("initdb"))?).dir(dir.path());
        let made = initdb
            .args(["--auth=trust", "--encoding=UTF8", "--username=postgres", "--pgdata"])
            .arg(&data)
            .run(DEADLINE)
            .await?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        let port = free_port()?;
        let mut builder =
            as_owner(Child::builder(programs.join("postgres"))?).dir(dir.path()).arg("-D").arg(&data);
        let ours = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", dir.path().display()),
        ];
        for setting in ours.iter().map(String::as_str).chain(settings.iter().copied()) {
            builder = builder.arg("-c").arg(setting);
        }
        let builder = builder.arg("-p").arg(port.to_string());
        let mut child = builder.start()?;
        ready(&mut child).await?;
        Ok(Self { builder, child, port, _dir: dir })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The address of a database on it, whether there is one or not.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address())
    }

    /// The process that all its others descend from.
    pub const fn pid(&self) -> i32 {
        self.child.id()
    }

    /// Ends it as `pg_ctl stop -m immediate` does, without a word to its clients and without a checkpoint, and starts it
    /// again on the same files: it recovers from its log.
    ///
    /// # Errors
    /// It does not end or begin in time.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.child.quit()?;
        self.child.wait(DEADLINE).await?;
        self.child = self.builder.start()?;
        ready(&mut self.child).await
    }

    /// Ends it for good.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn stop(mut self) -> io::Result<()> {
        self.child.quit()?;
        self.child.wait(DEADLINE).await.map(drop)
    }
}

async fn ready(child: &mut Child) -> io::Result<()> {
    child.wait_for_output("database system is ready to accept connections", DEADLINE).await
}

/// The server does not run as root: then the directory goes to the user `postgres`, and so do its programs.
fn owner(dir: &Path) -> io::Result<impl Fn(Builder) -> Builder + use<>> {
    let ids = if Uid::effective().is_root() {
        let user = User::from_name("postgres")?;
        let user =
            user.ok_or_else(|| io::Error::other("there is no user `postgres` to run the server as"))?;
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        chown(dir, Some(uid), Some(gid))?;
        Some((uid, gid))
    } else {
        None
    };
    Ok(move |builder: Builder| match ids {
        Some((uid, gid)) => builder.user(uid, gid),
        None => builder,
    })
}
