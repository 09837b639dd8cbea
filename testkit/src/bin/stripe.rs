//! The stand-in for Stripe as a program: for trying billing, and the operator's tasks, without an account at Stripe.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::SystemTime,
};

use clap::Parser;
use testkit::stripe::{SECRET_KEY, StripeServer, subscription};

/// How long a period lasts, in seconds.
const MONTH: i64 = 30 * 86_400;

/// Makes customers and pages, and shows these subscriptions, each with a month that began now.
#[derive(Debug, Parser)]
#[command(name = "stripe")]
struct Arguments {
    /// Where to listen; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:12111")]
    listen: SocketAddr,
    /// A subscription to show, as `id,customer,price,status`; may be given again.
    #[arg(long)]
    subscription: Vec<String>,
}

/// Seconds since the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "a program of its own, which knows nothing of the application's clock"
)]
fn now() -> io::Result<i64> {
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    i64::try_from(passed.as_secs()).map_err(io::Error::other)
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let stripe = StripeServer::listen(arguments.listen).await?;
    let now = now()?;
    let period = (now, now + MONTH);
    for text in &arguments.subscription {
        let parts: Vec<&str> = text.split(',').collect();
        let [id, customer, price, status] = parts[..] else {
            return Err(io::Error::other(format!("`{text}` is no id,customer,price,status")));
        };
        stripe.show(&subscription(id, customer, price, status, period));
    }
    let mut out = io::stdout().lock();
    writeln!(out, "STRIPE_API_BASE={} STRIPE_SECRET_KEY={SECRET_KEY}", stripe.base())?;
    out.flush()?;
    tokio::signal::ctrl_c().await
}
