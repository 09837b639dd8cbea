//! What starts together with the server.

mod engine;

use loco_rs::app::Initializer;

/// Every initializer, in order.
pub fn all() -> Vec<Box<dyn Initializer>> {
    vec![Box::new(engine::EmbeddedEngine)]
}
