//! Which worker performs which job, and what follows when a job is given up: filled at boot, read by the running queue and by
//! what operators ask of it.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::BoxFuture;
use loco_rs::bgworker::JobHandler;
use parking_lot::RwLock;
use serde_json::Value as Json;

use crate::{errors::ApiResult, tenancy::SystemScope};

/// What follows when a job is given up: called with the job's arguments in the transaction that ends it, so that both
/// happen or neither. Short, and without a network.
pub type GivenUp = for<'a> fn(&'a SystemScope, Json) -> BoxFuture<'a, ApiResult<()>>;

/// Handlers by class name.
#[derive(Clone, Default)]
pub(super) struct Handlers {
    performing: Arc<RwLock<HashMap<String, Arc<JobHandler>>>>,
    given_up: Arc<RwLock<HashMap<String, GivenUp>>>,
}

impl Handlers {
    /// Names the handler of a class; a second one replaces the first.
    pub(super) fn register(&self, name: String, handler: JobHandler) {
        self.performing.write().insert(name, Arc::new(handler));
    }

    /// Names what follows when a job of a class is given up.
    pub(super) fn register_given_up(&self, name: String, given_up: GivenUp) {
        self.given_up.write().insert(name, given_up);
    }

    /// The handler of a class, if this program has one.
    pub(super) fn find(&self, name: &str) -> Option<Arc<JobHandler>> {
        self.performing.read().get(name).map(Arc::clone)
    }

    /// What follows when a job of a class is given up, if anything does.
    pub(super) fn find_given_up(&self, name: &str) -> Option<GivenUp> {
        self.given_up.read().get(name).copied()
    }
}
