//! Which worker performs which job: filled at boot, read by the running queue.

use std::{collections::HashMap, sync::Arc};

use loco_rs::bgworker::JobHandler;
use parking_lot::RwLock;

/// Handlers by class name.
#[derive(Clone, Default)]
pub(super) struct Handlers(Arc<RwLock<HashMap<String, Arc<JobHandler>>>>);

impl Handlers {
    /// Names the handler of a class; a second one replaces the first.
    pub(super) fn register(&self, name: String, handler: JobHandler) {
        self.0.write().insert(name, Arc::new(handler));
    }

    /// The handler of a class, if this program has one.
    pub(super) fn find(&self, name: &str) -> Option<Arc<JobHandler>> {
        self.0.read().get(name).map(Arc::clone)
    }
}
