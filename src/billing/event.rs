//! What is read of an event: the few fields that say what to look at. Everything else is Stripe's present state.

use serde_json::Value;

/// An event, as far as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Stripe's id.
    pub id: String,
    /// Stripe's name of what happened.
    pub kind: String,
    /// Whether it is about money, or only a test.
    pub live: bool,
    /// What to look at.
    pub subject: Subject,
}

/// What an event has us look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A subscription of a customer.
    Subscription {
        /// Whose.
        customer: String,
        /// Which.
        subscription: String,
    },
    /// An invoice that could not be paid.
    FailedInvoice {
        /// Whose.
        customer: String,
        /// Which.
        invoice: String,
        /// What it is for.
        subscription: Option<String>,
    },
    /// Nothing of ours.
    Nothing,
}

impl Subject {
    /// Whose it is.
    pub fn customer(&self) -> Option<&str> {
        match self {
            Self::Subscription { customer, .. } | Self::FailedInvoice { customer, .. } => Some(customer),
            Self::Nothing => None,
        }
    }
}

/// Reads an event; `None` when it is none.
pub fn read(body: &[u8]) -> Option<Event> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let (id, kind) = (text("id").filter(|id| !id.is_empty())?, text("type")?);
    let live = body.get("livemode").and_then(Value::as_bool).unwrap_or_default();
    let subject = body.pointer("/data/object").map_or(Subject::Nothing, |object| subject(&kind, object));
    Some(Event { id, kind, live, subject })
}

fn subject(kind: &str, object: &Value) -> Subject {
    let of = |name: &str| id_of(object.get(name)?);
    let found = match kind {
        "customer.subscription.created"
        | "customer.subscription.updated"
        | "customer.subscription.deleted" => of("customer")
            .zip(of("id"))
            .map(|(customer, subscription)| Subject::Subscription { customer, subscription }),
        "checkout.session.completed" => of("customer")
            .zip(of("subscription"))
            .map(|(customer, subscription)| Subject::Subscription { customer, subscription }),
        "invoice.payment_failed" => of("customer").zip(of("id")).map(|(customer, invoice)| {
            Subject::FailedInvoice { customer, invoice, subscription: subscription_of_invoice(object) }
        }),
        _ => None,
    };
    found.unwrap_or(Subject::Nothing)
}

/// It moved below `parent` with the API version 2025-03-31; endpoints may be bound to an earlier one.
fn subscription_of_invoice(object: &Value) -> Option<String> {
    let new = object.pointer("/parent/subscription_details/subscription").and_then(id_of);
    new.or_else(|| object.get("subscription").and_then(id_of))
}

/// An id, where the object itself may stand in its place.
fn id_of(value: &Value) -> Option<String> {
    let text = value.as_str().or_else(|| value.get("id").and_then(Value::as_str));
    text.filter(|id| !id.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn subject_of(kind: &str, object: &Value) -> Option<Subject> {
        let body = json!({"id": "evt_1", "type": kind, "livemode": true, "data": {"object": object}});
        read(body.to_string().as_bytes()).map(|event| event.subject)
    }

    #[test]
    fn the_few_fields_are_found_wherever_a_version_has_them() {
        let paid = Some(Subject::Subscription { customer: "cus_1".into(), subscription: "sub_1".into() });
        let subscription = json!({"id": "sub_1", "customer": {"id": "cus_1"}});
        for kind in ["created", "updated", "deleted"] {
            assert_eq!(subject_of(&format!("customer.subscription.{kind}"), &subscription), paid);
        }
        let session = json!({"id": "cs_1", "customer": "cus_1", "subscription": "sub_1"});
        assert_eq!(subject_of("checkout.session.completed", &session), paid);
        let failed = Some(Subject::FailedInvoice {
            customer: "cus_1".into(),
            invoice: "in_1".into(),
            subscription: Some("sub_1".into()),
        });
        let old = json!({"id": "in_1", "customer": "cus_1", "subscription": "sub_1"});
        assert_eq!(subject_of("invoice.payment_failed", &old), failed);
        let parent = json!({"subscription_details": {"subscription": "sub_1"}});
        let new = json!({"id": "in_1", "customer": "cus_1", "parent": parent});
        assert_eq!(subject_of("invoice.payment_failed", &new), failed);
    }

    #[test]
    fn what_is_not_ours_is_nothing_and_what_is_no_event_is_none() {
        let once = json!({"id": "cs_1", "customer": "cus_1", "subscription": null, "mode": "payment"});
        assert_eq!(subject_of("checkout.session.completed", &once), Some(Subject::Nothing));
        assert_eq!(subject_of("charge.refunded", &json!({"id": "ch_1"})), Some(Subject::Nothing));
        assert_eq!(subject_of("invoice.payment_failed", &json!([])), Some(Subject::Nothing));
        for body in ["", "null", "[]", "{}", "{\"id\": \"evt_1\"}", "{\"id\": 1, \"type\": \"x\"}"] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&body).is_none_or(|event| !event.id.is_empty()));
        }
    }
}
