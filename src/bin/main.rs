//! The program: `ampout start`, `ampout task …`.

use ampout::app::App;
use loco_rs::cli;
use migration::Migrator;

#[tokio::main]
async fn main() -> loco_rs::Result<()> {
    // Arms the points that a fault test names in FAILPOINTS; a release build has none to arm.
    let _armed = fail::FailScenario::setup();
    cli::main::<App, Migrator>().await
}
