//! Calls to Stripe: every one has a deadline, is tried again where that helps, and carries a key that makes doing it
//! twice do it once. Of the answers only the few fields are read that are needed: Stripe adds and drops others.

use std::{collections::HashMap, time::Duration};

use miniserde::Deserialize;
use stripe::{ClientBuilder, IdempotencyKey, RequestStrategy, StripeError, StripeRequest};
use stripe_billing::{
    billing_portal_session::{
        CreateBillingPortalSession, CreateBillingPortalSessionFlowData as Flow,
        CreateBillingPortalSessionFlowDataAfterCompletion as Afterwards,
        CreateBillingPortalSessionFlowDataAfterCompletionRedirect as Redirect,
        CreateBillingPortalSessionFlowDataAfterCompletionType as AfterwardsType,
        CreateBillingPortalSessionFlowDataSubscriptionUpdateConfirm as Confirm,
        CreateBillingPortalSessionFlowDataSubscriptionUpdateConfirmItems as ConfirmItem,
        CreateBillingPortalSessionFlowDataType as FlowType,
    },
    subscription::{ListSubscription, ListSubscriptionStatus, RetrieveSubscription},
};
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionLineItems, CreateCheckoutSessionSubscriptionData,
};
use stripe_core::customer::CreateCustomer;
use stripe_shared::CheckoutSessionMode;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    config::StripeSettings,
    errors::{ApiError, Code},
    models::{periods::Span, subscriptions::Snapshot},
};

/// How long one try may take, its answer included.
const WITHIN: Duration = Duration::from_secs(8);
/// How often something is tried.
const TRIES: u32 = 3;
/// The wait before the second try; it doubles.
const WAIT: Duration = Duration::from_millis(300);
/// When a client may ask again while Stripe is away, in seconds.
const ASK_AGAIN: u32 = 10;
/// Subscriptions of one page.
const PAGE: i64 = 100;

/// Why Stripe did not do something. None of it is shown to clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StripeFailure {
    /// It understood, and will not.
    #[error("Stripe refused with {status}: {reason}")]
    Refused {
        /// Its status.
        status: u16,
        /// The kind of its error, and the parameter at fault.
        reason: String,
    },
    /// It cannot be reached, is busy, does not know us, or answered something that cannot be read.
    #[error("Stripe cannot be used: {0}")]
    Away(String),
}

impl StripeFailure {
    fn of(error: StripeError) -> Self {
        match error {
            StripeError::Stripe(error, status) => {
                let code = error.code.as_ref().map_or("no code", |code| code.as_str());
                let parameter = error.param.as_deref().unwrap_or("none");
                let reason = format!("{}, {code}, parameter: {parameter}", error.type_.as_str());
                match status {
                    // 401 and 403 are about our key: the operator's to mend, not the client's.
                    400 | 402 | 404 => Self::Refused { status, reason },
                    _ => Self::Away(format!("{status}: {reason}")),
                }
            }
            other @ (StripeError::JSONDeserialize(_)
            | StripeError::ClientError(_)
            | StripeError::ConfigError(_)
            | StripeError::Timeout) => Self::Away(other.to_string()),
        }
    }
}

impl From<StripeFailure> for ApiError {
    fn from(failure: StripeFailure) -> Self {
        match &failure {
            StripeFailure::Refused { .. } => {
                tracing::warn!(%failure, "a request of an account was refused");
                Self::unprocessable("The payment provider refused the request").cause(failure)
            }
            StripeFailure::Away(_) => Self::new(Code::ServiceUnavailable)
                .message("The payment provider cannot be reached. Try again later.")
                .retry_after(ASK_AGAIN)
                .cause(failure),
        }
    }
}

/// A subscription, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Stripe's id of the customer.
    pub customer: String,
    /// Whether it is about money.
    pub live: bool,
    /// The subscription.
    pub snapshot: Snapshot,
}

/// Stripe, by our key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stripe {
    client: stripe::Client,
    return_url: String,
    live: bool,
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

#[derive(Deserialize)]
struct Session {
    url: String,
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
    has_more: Option<bool>,
}

#[derive(Deserialize)]
struct Subscription {
    id: String,
    customer: String,
    status: String,
    created: i64,
    livemode: Option<bool>,
    ended_at: Option<i64>,
    items: List<Item>,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
}

#[derive(Deserialize)]
struct Item {
    id: Option<String>,
    price: Made,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
}

impl Subscription {
    /// Its first item is what is sold; the periods moved into it with the API version 2025-03-31.
    fn shown(self) -> Shown {
        let item = self.items.data.into_iter().next();
        let of_item = item.as_ref().and_then(|item| item.current_period_start.zip(item.current_period_end));
        let span = of_item.or_else(|| self.current_period_start.zip(self.current_period_end));
        let moment = Timestamp::from_seconds;
        Shown {
            customer: self.customer,
            live: self.livemode.unwrap_or_default(),
            snapshot: Snapshot {
                stripe_id: self.id,
                status: self.status,
                item_id: item.as_ref().and_then(|item| item.id.clone()),
                price_id: item.map(|item| item.price.id),
                span: span
                    .map(|(start, end)| Span { start: moment(start), end: moment(end) })
                    .filter(|span| span.start < span.end),
                ended_at: self.ended_at.map(moment),
                subscribed_at: moment(self.created),
            },
        }
    }
}

impl Stripe {
    /// Stripe by these settings; asks nothing yet.
    ///
    /// # Errors
    /// What the library has against an address or a key.
    pub fn new(settings: &StripeSettings) -> Result<Self, StripeError> {
        let builder = ClientBuilder::new(settings.secret_key.as_str())
            .timeout(WITHIN)
            .request_strategy(RequestStrategy::Once)
            .app_info("Ampout", Some(env!("CARGO_PKG_VERSION").to_owned()), None);
        // The library puts `v1` right behind the base.
        let builder = match &settings.api_base {
            Some(base) => builder.url(format!("{base}/")),
            None => builder,
        };
        let live = settings.secret_key.contains("_live_");
        Ok(Self { client: builder.build()?, return_url: settings.return_url.clone(), live })
    }

    /// Whether our key is for money: what is about tests is not for us then, and the other way round.
    pub const fn is_live(&self) -> bool {
        self.live
    }

    /// Makes the customer of an account, once: the key is the account's. Answers its id.
    ///
    /// # Errors
    /// When Stripe did not.
    pub async fn make_customer(
        &self,
        account_id: Uuid,
        email: &str,
        name: Option<&str>,
    ) -> Result<String, StripeFailure> {
        let create = CreateCustomer::new().email(email).metadata(metadata(account_id));
        let create = match name {
            Some(name) => create.name(name),
            None => create,
        };
        let made: Made = self.send(&create, Some(&format!("customer-{account_id}"))).await?;
        Ok(made.id)
    }

    /// A page of Stripe's where the customer subscribes to a price.
    ///
    /// # Errors
    /// When Stripe made none.
    pub async fn checkout(
        &self,
        account_id: Uuid,
        customer: &str,
        price: &str,
        run_id: Uuid,
    ) -> Result<String, StripeFailure> {
        let item = CreateCheckoutSessionLineItems {
            price: Some(price.to_owned()),
            quantity: Some(1),
            ..CreateCheckoutSessionLineItems::default()
        };
        let mut subscription = CreateCheckoutSessionSubscriptionData::new();
        subscription.metadata = Some(metadata(account_id));
        let create = CreateCheckoutSession::new()
            .mode(CheckoutSessionMode::Subscription)
            .customer(customer)
            .client_reference_id(account_id.to_string())
            .line_items(vec![item])
            .subscription_data(subscription)
            .success_url(self.back("success"))
            .cancel_url(self.back("cancelled"));
        let session: Session = self.send(&create, Some(&format!("checkout-{run_id}"))).await?;
        Ok(session.url)
    }

    /// A page of Stripe's where the customer confirms another price for the subscription that there is.
    ///
    /// # Errors
    /// When Stripe made none.
    pub async fn change(
        &self,
        customer: &str,
        (subscription, item): (&str, &str),
        price: &str,
        run_id: Uuid,
    ) -> Result<String, StripeFailure> {
        let mut to = ConfirmItem::new(item);
        (to.price, to.quantity) = (Some(price.to_owned()), Some(1));
        let mut afterwards = Afterwards::new(AfterwardsType::Redirect);
        afterwards.redirect = Some(Redirect::new(self.back("success")));
        let mut flow = Flow::new(FlowType::SubscriptionUpdateConfirm);
        flow.subscription_update_confirm = Some(Confirm::new(vec![to], subscription));
        flow.after_completion = Some(afterwards);
        let create = CreateBillingPortalSession::new()
            .customer(customer)
            .return_url(self.back("cancelled"))
            .flow_data(flow);
        let session: Session = self.send(&create, Some(&format!("change-{run_id}"))).await?;
        Ok(session.url)
    }

    /// A page of Stripe's where the customer sees invoices, changes cards, and cancels.
    ///
    /// # Errors
    /// When Stripe made none.
    pub async fn portal(&self, customer: &str, run_id: Uuid) -> Result<String, StripeFailure> {
        let create =
            CreateBillingPortalSession::new().customer(customer).return_url(self.return_url.as_str());
        let session: Session = self.send(&create, Some(&format!("portal-{run_id}"))).await?;
        Ok(session.url)
    }

    /// A subscription as it is now.
    ///
    /// # Errors
    /// When Stripe does not show it.
    pub async fn subscription(&self, id: &str) -> Result<Shown, StripeFailure> {
        let shown: Subscription = self.send(&RetrieveSubscription::new(id), None).await?;
        Ok(shown.shown())
    }

    /// A page of all subscriptions, ended ones too, after the one of this id; and whether there are more.
    ///
    /// # Errors
    /// When Stripe does not show them.
    pub async fn subscriptions(&self, after: Option<&str>) -> Result<(Vec<Shown>, bool), StripeFailure> {
        let list = ListSubscription::new().status(ListSubscriptionStatus::All).limit(PAGE);
        let list = match after {
            Some(after) => list.starting_after(after),
            None => list,
        };
        let list: List<Subscription> = self.send(&list, None).await?;
        let more = list.has_more.unwrap_or_default();
        Ok((list.data.into_iter().map(Subscription::shown).collect(), more))
    }

    fn back(&self, status: &str) -> String {
        format!("{}?status={status}", self.return_url)
    }

    /// Asks, and asks again while Stripe is away. `key` makes that harmless where something is made.
    async fn send<T: Deserialize + Send>(
        &self,
        request: &(impl StripeRequest + Sync),
        key: Option<&str>,
    ) -> Result<T, StripeFailure> {
        let strategy = match key {
            Some(key) => RequestStrategy::Idempotent(
                IdempotencyKey::new(format!("ampout-{key}"))
                    .map_err(|error| StripeFailure::Away(error.to_string()))?,
            ),
            None => RequestStrategy::Once,
        };
        let mut tries = 1;
        loop {
            let request = request.build().customize::<T>().request_strategy(strategy.clone());
            match request.send(&self.client).await.map_err(StripeFailure::of) {
                Err(StripeFailure::Away(reason)) if tries < TRIES => {
                    tracing::info!(reason, tries, "Stripe is asked again");
                    tokio::time::sleep(WAIT * 2_u32.pow(tries - 1)).await;
                    tries += 1;
                }
                done => return done,
            }
        }
    }
}

fn metadata(account_id: Uuid) -> HashMap<String, String> {
    HashMap::from([("account_id".to_owned(), account_id.to_string())])
}
