//! The program: `ampout start`, `ampout task …`.

use std::process::ExitCode;

use ampout::app::App;
use loco_rs::{Error, cli};
use migration::Migrator;

#[tokio::main]
async fn main() -> ExitCode {
    // Arms the points that a fault test names in FAILPOINTS; a release build has none to arm.
    let _armed = fail::FailScenario::setup();
    match cli::main::<App, Migrator>().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// What people are told of an error; where it came from is in the log.
fn in_one_line(error: &Error) -> String {
    // RUST_BACKTRACE=1 wraps errors.
    if let Error::WithBacktrace { inner, .. } = error {
        return in_one_line(inner);
    }
    if let Error::TaskNotFound(name) = error {
        return format!("there is no task `{name}`; `task` alone lists them");
    }
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
