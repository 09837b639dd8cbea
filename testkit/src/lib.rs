//! What tests, benchmarks and the demo need around the application: mail servers, webhook endpoints and a Stripe that
//! misbehave on request, a TCP proxy that breaks, a client of the API, child processes that can be killed, and waiting without sleeping.
//! Nothing here depends on the application; it is looked at from the outside only.

pub mod api;
pub mod child;
pub mod imap;
pub mod postgres;
pub mod proxy;
pub mod receiver;
pub mod sink;
pub mod stripe;
pub mod wait;
