//! What starts together with the server.

mod engine;
mod flusher;

use loco_rs::app::Initializer;

/// Every initializer, in order.
pub fn all() -> Vec<Box<dyn Initializer>> {
    vec![Box::new(flusher::UsageFlusher), Box::new(engine::EmbeddedEngine)]
}
