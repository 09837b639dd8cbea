//! What must hold when processes die, stop or compete: asserted at the sink and in the rows.

mod answers;
mod billing_kill;
mod database;
mod disk_full;
mod enroll_kill;
mod import_kill;
mod inbox_kill;
mod kill;
mod lease;
mod locks;
mod lost;
mod pace;
mod pause;
mod pool;
mod restart;
mod servers;
mod serving;
mod shutdown;
mod silence;
mod slow;
mod stopped;
mod told_once;
mod two_engines;

use testkit::child::{Builder, Child};

use crate::support::{World, campaign::DEADLINE};

/// An engine process of its own on the world's database.
pub fn engine_process(w: &World) -> Builder {
    process(w).arg("task").arg("engine")
}

/// One that takes another for dead after two seconds, and itself: for tests that wait for a death. Others must not be taken
/// for dead because the machine is slow.
pub fn heir_process(w: &World) -> Builder {
    engine_process(w).env("ENGINE_DEAD_AFTER_SECONDS", "2")
}

/// A process of its own on the world's database, without its arguments.
pub fn process(w: &World) -> Builder {
    let builder = Child::builder(env!("CARGO_BIN_EXE_ampout")).unwrap();
    let config = builder.path("config");
    std::fs::create_dir_all(&config).unwrap();
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/test.yaml");
    std::fs::copy(from, config.join("test.yaml")).unwrap();
    let builder =
        builder.env("LOCO_ENV", "test").env("ENGINE_DEAD_AFTER_SECONDS", "30").env("ENGINE_POLL_MS", "50");
    w.environment.iter().fold(builder, |builder, (name, value)| builder.env(*name, value))
}

/// A process that stays at `point` when it has passed it so often, and says so by the file `held`.
pub fn armed(process: Builder, point: &str, passes: usize) -> Builder {
    let point = format!("{point}={passes}*off->return({})", process.path("held").display());
    process.env("FAILPOINTS", point)
}

/// Starts a process, and waits until it stays at `point`.
pub async fn held_at(process: Builder, point: &str, passes: usize) -> Child {
    let mut held = armed(process, point, passes).start().unwrap();
    held.wait_for_file("held", DEADLINE).await.unwrap();
    held
}

/// Starts a process, and kills it when it stays at `point`.
pub async fn killed_at(process: Builder, point: &str, passes: usize) {
    held_at(process, point, passes).await.kill_9().await.unwrap();
}
