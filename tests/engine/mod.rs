//! The engine's supervision and the lives of its processes.

mod lives;
mod supervision;
