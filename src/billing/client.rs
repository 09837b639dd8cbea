//! Calls to Stripe: every one has a deadline, is tried again where that helps, and carries a key that makes doing it
//! twice do it once (`tries`). Of the answers only the few fields are read that are needed: Stripe adds and drops others.

use std::{collections::HashMap, time::Duration};

use miniserde::Deserialize;
use stripe::{ClientBuilder, RequestStrategy, StripeError, StripeRequest};
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
use stripe_core::customer::{CreateCustomer, DeleteCustomer, ListCustomer};
use stripe_shared::CheckoutSessionMode;
use uuid::Uuid;

use super::{failure::StripeFailure, tries::Tries};
use crate::{
    clock::Timestamp,
    config::StripeSettings,
    models::{periods::Span, subscriptions::Snapshot},
};

/// How long one try may take, its answer included.
const WITHIN: Duration = Duration::from_secs(8);
/// Subscriptions or customers of one page.
const PAGE: i64 = 100;

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
struct Customer {
    id: String,
    metadata: Option<HashMap<String, String>>,
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

    /// Makes the customer of an account, unless there is one that was made for it. Answers its id.
    ///
    /// Each try looks first: a key is forgotten after a day, and where Stripe broke it may have made one all the same.
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
        let mut tries = Tries::under(&format!("customer-{account_id}"));
        loop {
            if let Some(first) = self.customers_of(account_id, email).await?.pop() {
                return Ok(first);
            }
            match self.ask::<Made>(&create, &tries).await {
                Err(failure) if tries.another(&failure).await => {}
                done => return done.map(|made| made.id),
            }
        }
    }

    /// The customers that were made for an account with this address, newest first. Those of the address are listed, since
    /// what was made just now cannot be searched for yet: <https://docs.stripe.com/api/customers/search>.
    ///
    /// # Errors
    /// When Stripe does not show them.
    pub async fn customers_of(&self, account_id: Uuid, email: &str) -> Result<Vec<String>, StripeFailure> {
        let (metadata, mut found, mut after) = (metadata(account_id), Vec::new(), None::<String>);
        loop {
            let list = ListCustomer::new().email(email).limit(PAGE);
            let list = match &after {
                Some(after) => list.starting_after(after),
                None => list,
            };
            let list: List<Customer> = self.send(&list, None).await?;
            after = list.data.last().map(|customer| customer.id.clone());
            let ours = list.data.into_iter().filter(|it| it.metadata.as_ref() == Some(&metadata));
            found.extend(ours.map(|customer| customer.id));
            if after.is_none() || !list.has_more.unwrap_or_default() {
                return Ok(found);
            }
        }
    }

    /// Deletes a customer, which ends at once what it has subscribed to; one that is gone is as good.
    /// <https://docs.stripe.com/api/customers/delete>
    ///
    /// # Errors
    /// When Stripe did not.
    pub async fn delete_customer(&self, id: &str) -> Result<(), StripeFailure> {
        match self.send::<Made>(&DeleteCustomer::new(id), None).await {
            Err(StripeFailure::Refused { status: 404, .. }) => Ok(()),
            done => done.map(drop),
        }
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
        let mut tries = key.map_or_else(Tries::default, Tries::under);
        loop {
            match self.ask(request, &tries).await {
                Err(failure) if tries.another(&failure).await => {}
                done => return done,
            }
        }
    }

    /// Asks once.
    async fn ask<T: Deserialize + Send>(
        &self,
        request: &(impl StripeRequest + Sync),
        tries: &Tries,
    ) -> Result<T, StripeFailure> {
        let request = request.build().customize::<T>().request_strategy(tries.strategy()?);
        request.send(&self.client).await.map_err(StripeFailure::of)
    }
}

fn metadata(account_id: Uuid) -> HashMap<String, String> {
    HashMap::from([("account_id".to_owned(), account_id.to_string())])
}
