//! What the stand-in makes, shows and deletes, by the rules of each kind.

use serde_json::{Value, json};

use super::{Call, Shared, error};

/// A text of an object.
pub(super) fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn make(shared: &Shared, call: &Call) -> (u16, Value) {
    let made = match call.path.as_str() {
        "/v1/customers" => make_customer(shared, call),
        "/v1/checkout/sessions" => make_checkout(call),
        "/v1/billing_portal/sessions" => make_portal(shared, call),
        _ => return (404, error("invalid_request_error", "resource_missing", "none")),
    };
    match made {
        Ok(made) => (200, made),
        Err((code, parameter)) => (400, error("invalid_request_error", code, parameter)),
    }
}

/// What a call lacks, or what it names that is not there, and the parameter at fault.
type Fault = (&'static str, &'static str);

impl Call {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    fn needs(&self, names: &[&'static str]) -> Result<(), Fault> {
        let lacking = names.iter().find(|name| self.field(name).is_empty());
        lacking.map_or(Ok(()), |name| Err(("parameter_missing", *name)))
    }

    /// Stripe refuses what it does not know, rather than passing over it.
    fn knows(&self, names: &[&'static str]) -> Result<(), Fault> {
        let known = |field: &String| field.split('[').next().is_some_and(|name| names.contains(&name));
        if self.fields.keys().all(known) { Ok(()) } else { Err(("parameter_unknown", "one of them")) }
    }
}

fn make_customer(shared: &Shared, call: &Call) -> Result<Value, Fault> {
    call.knows(&["email", "name", "metadata"])?;
    call.needs(&["email", "metadata[account_id]"])?;
    let account = call.field("metadata[account_id]");
    let mut customers = shared.customers.lock();
    customers.made += 1;
    let first = format!("cus_{}", account.replace('-', ""));
    let taken = customers.there.iter().any(|it| text(it, "id") == first);
    let id = if taken { format!("{first}_{}", customers.made) } else { first };
    let made = json!({
        "id": id, "object": "customer", "email": call.field("email"),
        "livemode": false, "created": 1_795_000_000, "metadata": {"account_id": account}, "address": null,
        "balance": 0, "currency": null, "default_source": null, "delinquent": false, "description": null,
        "discount": null, "invoice_prefix": "0759376C", "invoice_settings": {"custom_fields": null,
            "default_payment_method": null, "footer": null, "rendering_options": null},
        "name": call.fields.get("name"), "next_invoice_sequence": 1, "phone": null, "preferred_locales": [],
        "shipping": null, "tax_exempt": "none", "test_clock": null,
    });
    customers.there.push(made.clone());
    Ok(made)
}

fn make_checkout(call: &Call) -> Result<Value, Fault> {
    call.knows(&[
        "mode",
        "customer",
        "client_reference_id",
        "line_items",
        "subscription_data",
        "success_url",
        "cancel_url",
    ])?;
    call.needs(&["mode", "customer", "success_url", "cancel_url", "client_reference_id"])?;
    call.needs(&["line_items[0][price]", "line_items[0][quantity]"])?;
    if call.field("customer") == "cus_unknown" {
        return Err(("resource_missing", "customer"));
    }
    Ok(json!({
        "id": "cs_test_1", "object": "checkout.session", "mode": "subscription", "status": "open",
        "url": format!("https://checkout.stripe.test/c/{}", call.key), "customer": call.field("customer"),
        "livemode": false, "amount_subtotal": 1900, "amount_total": 1900, "created": 1_795_000_000,
        "cancel_url": call.field("cancel_url"), "success_url": call.field("success_url"), "currency": "usd",
        "client_reference_id": call.field("client_reference_id"), "customer_details": null, "customer_email": null,
        "expires_at": 1_795_086_400, "invoice": null, "locale": null, "metadata": {}, "payment_intent": null,
        "payment_method_types": ["card"], "payment_status": "unpaid", "setup_intent": null, "subscription": null,
        "submit_type": null, "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    }))
}

fn make_portal(shared: &Shared, call: &Call) -> Result<Value, Fault> {
    const CONFIRM: [&str; 3] = [
        "flow_data[subscription_update_confirm][subscription]",
        "flow_data[subscription_update_confirm][items][0][id]",
        "flow_data[subscription_update_confirm][items][0][price]",
    ];
    call.knows(&["customer", "return_url", "flow_data"])?;
    call.needs(&["customer", "return_url"])?;
    if call.field("flow_data[type]") == "subscription_update_confirm" {
        call.needs(&CONFIRM)?;
        if !shared.subscriptions.lock().contains_key(call.field(CONFIRM[0])) {
            return Err(("resource_missing", CONFIRM[0]));
        }
    }
    Ok(json!({
        "id": "bps_1", "object": "billing_portal.session", "livemode": false, "customer": call.field("customer"),
        "url": format!("https://billing.stripe.test/p/{}", call.key), "return_url": call.field("return_url"),
        "configuration": "bpc_1", "created": 1_795_000_000, "flow": null, "locale": null, "on_behalf_of": null,
    }))
}

pub(super) fn show(shared: &Shared, call: &Call) -> (u16, Value) {
    let missing = |what| (404, error("invalid_request_error", "resource_missing", what));
    if call.path == "/v1/customers" {
        return (200, list_customers(shared, call));
    }
    let Some(rest) = call.path.strip_prefix("/v1/subscriptions") else { return missing("none") };
    let subscriptions = shared.subscriptions.lock();
    if let Some(id) = rest.strip_prefix('/') {
        return subscriptions.get(id).map_or_else(|| missing("id"), |found| (200, found.clone()));
    }
    // Ended ones are left out unless all are asked for.
    let all = call.field("status") == "all";
    let shown = subscriptions.values().filter(|it| all || text(it, "status") != "canceled");
    (200, page(&call.path, shown, call.field("starting_after")))
}

/// Two to a page, whatever is asked for: pages are walked.
fn page<'a>(path: &str, all: impl Iterator<Item = &'a Value>, after: &str) -> Value {
    let all: Vec<&Value> = all.collect();
    let begin = all.iter().position(|it| text(it, "id") == after).map_or(0, |found| found + 1);
    let left = all.get(begin..).unwrap_or_default();
    let page: Vec<&Value> = left.iter().take(2).copied().collect();
    json!({"object": "list", "url": path, "has_more": left.len() > 2, "data": page})
}

/// Newest first; `email` is compared as it was given.
fn list_customers(shared: &Shared, call: &Call) -> Value {
    let customers = shared.customers.lock();
    let named = |it: &&Value| call.fields.get("email").is_none_or(|email| text(it, "email") == email);
    page(&call.path, customers.there.iter().rev().filter(named), call.field("starting_after"))
}

/// Deletes a customer, which ends at once what it has subscribed to. <https://docs.stripe.com/api/customers/delete>
pub(super) fn delete(shared: &Shared, call: &Call) -> (u16, Value) {
    let id = call.path.strip_prefix("/v1/customers/").unwrap_or_default();
    let mut customers = shared.customers.lock();
    let before = customers.there.len();
    customers.there.retain(|it| text(it, "id") != id);
    if customers.there.len() == before {
        return (404, error("invalid_request_error", "resource_missing", "id"));
    }
    for subscription in shared.subscriptions.lock().values_mut() {
        if text(subscription, "customer") == id
            && let Some(status) = subscription.get_mut("status")
        {
            *status = "canceled".into();
        }
    }
    (200, json!({"id": id, "object": "customer", "deleted": true}))
}

/// A subscription as Stripe shows it, to a price, in a period of seconds since the epoch.
pub fn subscription(id: &str, customer: &str, price: &str, status: &str, (start, end): (i64, i64)) -> Value {
    let recurring = json!({"interval": "month", "interval_count": 1});
    let price = json!({
        "id": price, "object": "price", "active": true, "currency": "usd", "livemode": false, "type": "recurring",
        "unit_amount": 1900, "recurring": recurring,
    });
    let item = json!({
        "id": format!("si_{id}"), "object": "subscription_item", "quantity": 1, "created": start,
        "current_period_start": start, "current_period_end": end, "subscription": id, "price": price,
    });
    let items = json!({
        "object": "list", "url": "/v1/subscription_items", "has_more": false, "data": [item],
    });
    let mut shown = json!({
        "id": id, "object": "subscription", "customer": customer, "status": status, "livemode": false,
        "created": start, "start_date": start, "billing_cycle_anchor": start, "currency": "usd", "items": items,
        "cancel_at_period_end": false, "collection_method": "charge_automatically", "latest_invoice": "in_1",
        "metadata": {},
    });
    let empty = [
        "cancel_at",
        "canceled_at",
        "ended_at",
        "trial_start",
        "trial_end",
        "pause_collection",
        "default_payment_method",
    ];
    if let Some(fields) = shown.as_object_mut() {
        fields.extend(empty.into_iter().map(|name| (name.to_owned(), Value::Null)));
    }
    shown
}

/// An event about an object.
pub fn event(id: &str, kind: &str, object: &Value) -> Value {
    json!({
        "id": id, "object": "event", "api_version": "2025-09-30.clover", "created": 1_795_000_000, "type": kind,
        "livemode": false, "pending_webhooks": 1, "request": {"id": null, "idempotency_key": null},
        "data": {"object": object},
    })
}
