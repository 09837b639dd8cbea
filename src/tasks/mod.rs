//! What `cargo loco task <name>` runs: the operator's tools. Tasks are as thin as controllers: `arguments` checks what they
//! are told, `operation` runs them, `report` shows what they answer, and what they do is done by models.

mod accounts;
mod api_keys;
mod arguments;
mod campaigns;
mod contacts;
mod doctor;
mod engine;
mod jobs;
mod keys;
mod operation;
mod plans;
mod purge;
mod report;
mod uncertain;
mod webhooks;

use loco_rs::task::Tasks;

use operation::OperatorTask;

/// Registers every task.
pub fn register(tasks: &mut Tasks) {
    tasks.register(OperatorTask::<accounts::Create>::new());
    tasks.register(OperatorTask::<accounts::Show>::new());
    tasks.register(OperatorTask::<accounts::Erase>::new());
    tasks.register(OperatorTask::<accounts::Export>::new());
    tasks.register(OperatorTask::<api_keys::Issue>::new());
    tasks.register(OperatorTask::<api_keys::Revoke>::new());
    tasks.register(OperatorTask::<plans::List>::new());
    tasks.register(OperatorTask::<plans::Create>::new());
    tasks.register(OperatorTask::<plans::Assign>::new());
    tasks.register(OperatorTask::<plans::Archive>::new());
    tasks.register(OperatorTask::<plans::Restore>::new());
    tasks.register(OperatorTask::<plans::Sync>::new());
    tasks.register(OperatorTask::<plans::Reconcile>::new());
    tasks.register(OperatorTask::<campaigns::List>::new());
    tasks.register(OperatorTask::<campaigns::Show>::new());
    tasks.register(OperatorTask::<campaigns::Pause>::new());
    tasks.register(OperatorTask::<campaigns::Resume>::new());
    tasks.register(OperatorTask::<uncertain::List>::new());
    tasks.register(OperatorTask::<uncertain::Resolve>::new());
    tasks.register(OperatorTask::<contacts::Import>::new());
    tasks.register(OperatorTask::<webhooks::Redeliver>::new());
    tasks.register(OperatorTask::<jobs::List>::new());
    tasks.register(OperatorTask::<jobs::Retry>::new());
    tasks.register(OperatorTask::<keys::Rotate>::new());
    tasks.register(OperatorTask::<purge::Purge>::new());
    tasks.register(OperatorTask::<doctor::Doctor>::new());
    tasks.register(OperatorTask::<engine::RunEngine>::new());
}
