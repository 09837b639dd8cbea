//! HTTP in, HTTP out, nothing else: one file per resource, extractors, one or two calls on models, a view.

mod account;
mod api_keys;
mod billing;
mod campaigns;
mod contact_imports;
mod contacts;
mod deliveries;
mod dispatch;
mod enrollments;
mod inbound;
mod metrics;
mod outreaches;
mod plans;
mod previews;
mod reference;
mod signup;
mod smtp_credentials;
mod status;
mod stripe;
mod unsubscribe;
mod usage;
mod webhooks;

use loco_rs::controller::AppRoutes;

/// Every route of the application.
pub fn routes() -> AppRoutes {
    AppRoutes::empty()
        .add_route(status::routes())
        .add_route(reference::routes())
        .add_route(metrics::routes())
        .add_route(signup::routes())
        .add_route(account::routes())
        .add_route(api_keys::routes())
        .add_route(campaigns::routes())
        .add_route(smtp_credentials::routes())
        .add_route(previews::routes())
        .add_route(enrollments::routes())
        .add_route(dispatch::routes())
        .add_route(deliveries::routes())
        .add_route(contact_imports::routes())
        .add_route(contacts::routes())
        .add_route(outreaches::routes())
        .add_route(unsubscribe::routes())
        .add_route(inbound::routes())
        .add_route(usage::routes())
        .add_route(stripe::routes())
        .add_route(webhooks::routes())
        .add_route(plans::routes())
        .add_route(billing::routes())
}
