//! A program run as a child process, for tests that kill, stop or end it and look at what is left.
//! Readiness is a port, a file or a line of its output; there is always a deadline.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::wait::eventually;

/// What a child gets of this process's environment; the rest (a `DATABASE_URL`, say) would change what is tested.
const INHERITED: [&str; 5] = ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];
/// How much of a child's output an error shows, in bytes.
const SHOWN: usize = 4000;
/// How long a signal that stops a process may take to arrive.
const SIGNAL_DEADLINE: Duration = Duration::from_secs(5);

/// A port of 127.0.0.1 that was free just now.
///
/// # Errors
/// No port could be had.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// How to start a child; may be started again, in the same directory, and cloned to be changed.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    dir: PathBuf,
    user: Option<(u32, u32)>,
    /// Removed with the last builder and child that use it.
    own_dir: Arc<TempDir>,
    started: Arc<AtomicUsize>,
}

impl Builder {
    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable. Of this process's only what every program needs is passed on.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Runs as the user and group of these ids instead of as this process's.
    pub const fn user(mut self, user: u32, group: u32) -> Self {
        self.user = Some((user, group));
        self
    }

    /// Runs in this directory instead of in a temporary one.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// The working directory, to prepare files in or read them from.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts the program; its output goes to a file of its own.
    ///
    /// # Errors
    /// The program or its output file cannot be opened. Needs a tokio runtime.
    pub fn start(&self) -> io::Result<Child> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.own_dir.path().join(format!("output-{number}.log"));
        let output = File::create(&log)?;
        let process = self.command().stdout(output.try_clone()?).stderr(output).spawn()?;
        let pid = process.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the child has no process id"))?;
        Ok(Child { process, pid, log, dir: self.dir.clone(), _own_dir: Arc::clone(&self.own_dir) })
    }
}

impl Builder {
    /// Runs the program to its end; what it writes to standard output and to standard error is kept apart.
    ///
    /// # Errors
    /// The program cannot be started, or `TimedOut`; then it is killed.
    pub async fn run(&self, deadline: Duration) -> io::Result<Output> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("still running after {deadline:?}"));
        timeout(deadline, self.command().output()).await.map_err(late)?
    }

    fn command(&self) -> Command {
        let inherited = INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(inherited)
            .envs(&self.environment)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

/// A running child, killed when dropped.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    pid: Pid,
    log: PathBuf,
    dir: PathBuf,
    _own_dir: Arc<TempDir>,
}

impl Child {
    /// How to start this program, in a new temporary directory.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn builder(program: impl AsRef<OsStr>) -> io::Result<Builder> {
        let own_dir = Arc::new(TempDir::with_prefix("child-")?);
        Ok(Builder {
            program: PathBuf::from(program.as_ref()),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            dir: own_dir.path().to_owned(),
            user: None,
            own_dir,
            started: Arc::default(),
        })
    }

    /// Its process id.
    pub const fn id(&self) -> i32 {
        self.pid.as_raw()
    }

    /// What it has written to standard output and standard error so far.
    pub fn output(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until something accepts connections at `address`.
    ///
    /// # Errors
    /// `TimedOut`, or `BrokenPipe` as soon as the child has ended; both show its last output.
    pub async fn wait_for_port(&mut self, address: SocketAddr, deadline: Duration) -> io::Result<()> {
        self.wait_until(deadline, || async move { TcpStream::connect(address).await.is_ok() }).await
    }

    /// Waits until this file is there; a relative path begins at the working directory.
    ///
    /// # Errors
    /// As [`Self::wait_for_port`].
    pub async fn wait_for_file(&mut self, path: impl AsRef<Path>, deadline: Duration) -> io::Result<()> {
        let path = self.dir.join(path);
        self.wait_until(deadline, || std::future::ready(path.exists())).await
    }

    /// Waits until its output contains `text`.
    ///
    /// # Errors
    /// As [`Self::wait_for_port`].
    pub async fn wait_for_output(&mut self, text: &str, deadline: Duration) -> io::Result<()> {
        let log = self.log.clone();
        let said = || fs::read(&log).is_ok_and(|output| String::from_utf8_lossy(&output).contains(text));
        self.wait_until(deadline, || std::future::ready(said())).await
    }

    async fn wait_until<F>(&mut self, deadline: Duration, mut is_so: impl FnMut() -> F) -> io::Result<()>
    where
        F: Future<Output = bool>,
    {
        let process = &mut self.process;
        let found = eventually(deadline, || {
            let ended = process.try_wait().ok().flatten();
            let look = is_so();
            async move {
                let so = look.await;
                if so { Some(Ok(())) } else { ended.map(Err) }
            }
        });
        match found.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => Err(self.told(io::ErrorKind::BrokenPipe, &format!("ended with {status}"))),
            Err(error) => Err(self.told(error.kind(), &error.to_string())),
        }
    }

    /// Kills it as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub async fn kill_9(&mut self) -> io::Result<()> {
        self.process.kill().await
    }

    /// Stops it (SIGSTOP) and waits until it is stopped: it runs no more until [`Self::cont`].
    ///
    /// # Errors
    /// It cannot be signalled, or has ended.
    pub async fn stop(&self) -> io::Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let pid = self.pid;
        let look = || match waitpid(pid, Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Stopped(..)) => Some(Ok(())),
            Ok(WaitStatus::StillAlive) => None,
            Ok(status) => Some(Err(io::Error::other(format!("not stopped but {status:?}")))),
            Err(error) => Some(Err(error.into())),
        };
        eventually(SIGNAL_DEADLINE, || std::future::ready(look())).await?
    }

    /// Lets it run again after [`Self::stop`].
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn cont(&self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Asks it to end (SIGTERM); [`Self::wait`] tells when it has.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Has it end at once and in order where it knows SIGQUIT so, as a PostgreSQL server does.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn quit(&self) -> io::Result<()> {
        self.signal(Signal::SIGQUIT)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// `TimedOut` with its last output.
    pub async fn wait(&mut self, deadline: Duration) -> io::Result<ExitStatus> {
        let Ok(status) = timeout(deadline, self.process.wait()).await else {
            return Err(self.told(io::ErrorKind::TimedOut, &format!("still running after {deadline:?}")));
        };
        status
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        // Without an id it was waited for, and its number may be another's by now.
        let alive = self.process.id().ok_or_else(|| io::Error::other("the child has ended"));
        alive.and_then(|_| Ok(kill(self.pid, signal)?))
    }

    fn told(&self, kind: io::ErrorKind, what: &str) -> io::Error {
        let output = self.output();
        let start = output.ceil_char_boundary(output.len().saturating_sub(SHOWN));
        let tail = output.get(start..).unwrap_or_default();
        io::Error::new(kind, format!("{what}; its output ends with:\n{tail}"))
    }
}
