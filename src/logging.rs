//! Where logs go: to standard error, in the format and at the level of the configuration. Standard output belongs to what
//! a command answers, so that `task … format:json` can be piped into a program.

use std::io::{IsTerminal as _, stderr};

use loco_rs::{config, logger};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::app::App;

/// Installs the logger of this process.
pub fn install(settings: &config::Logger) {
    if !settings.enable {
        return;
    }
    let filter = logger::init_env_filter::<App>(settings.override_filter.as_ref(), &settings.level);
    let layer = logger::init_layer(stderr, &settings.format, stderr().is_terminal());
    tracing_subscriber::registry().with(layer).with(filter).init();
}
