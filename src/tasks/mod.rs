//! What `cargo loco task <name>` runs.

mod engine;

use loco_rs::task::Tasks;

/// Registers every task.
pub fn register(tasks: &mut Tasks) {
    tasks.register(engine::RunEngine);
}
