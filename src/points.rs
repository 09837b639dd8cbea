//! Named points, of the send path and of other work that may be cut off, at which a test can hold a process, to kill it there. Release builds have none.

/// Passes the point `name`. Where a test armed it with `return(<file>)`, writes that file and stays for ever.
pub fn reach(name: &'static str) {
    tracing::trace!(point = name, "reached");
    fail::fail_point!(name, |file| {
        if let Some(file) = file
            && let Err(error) = std::fs::write(&file, name)
        {
            tracing::error!(%error, file, "a held point could not say so");
        }
        loop {
            std::thread::park();
        }
    });
}

/// Whether a test armed the point `name` with `return`: what is asked for there is then to fail.
pub fn fails(name: &'static str) -> bool {
    tracing::trace!(point = name, "asked");
    fail::fail_point!(name, |_| true);
    false
}
