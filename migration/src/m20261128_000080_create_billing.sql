-- What Stripe calls the account and its subscription. `subscription_start` and `subscription_end` are the running
-- period of the subscription that the plan follows; null where no subscription is active.
ALTER TABLE accounts ADD COLUMN stripe_customer_id text;
ALTER TABLE accounts ADD COLUMN stripe_subscription_id text;
ALTER TABLE accounts ADD COLUMN subscription_start bigint;
ALTER TABLE accounts ADD COLUMN subscription_end bigint;
CREATE UNIQUE INDEX uq_accounts_stripe_customer ON accounts (stripe_customer_id);
CREATE INDEX ix_accounts_without_customer ON accounts (id) WHERE stripe_customer_id IS NULL AND deleted_at IS NULL;

-- The highest share of the limit, in percent, that the account's owner was told of in this period.
ALTER TABLE account_periods ADD COLUMN told_percent integer NOT NULL DEFAULT 0;
CREATE INDEX ix_account_periods_untold ON account_periods (period_end) WHERE told_percent < 100;

-- Subscriptions as Stripe last showed them. Fetches are numbered when they begin, and only one with a higher number
-- than the stored one is stored: what was fetched earlier never replaces what was fetched later.
CREATE TABLE subscriptions (
    id             {uuid} PRIMARY KEY,
    account_id     {uuid} NOT NULL REFERENCES accounts (id),
    stripe_id      text NOT NULL,
    status         text NOT NULL,
    price_id       text,
    item_id        text,
    period_start   bigint,
    period_end     bigint,
    ended_at       bigint,
    subscribed_at  bigint NOT NULL,
    fetches_begun  bigint NOT NULL DEFAULT 0,
    fetch_stored   bigint NOT NULL DEFAULT 0,
    created_at     bigint NOT NULL,
    CONSTRAINT uq_subscriptions_account UNIQUE (account_id, id),
    CONSTRAINT uq_subscriptions_stripe UNIQUE (stripe_id)
);

-- Events of Stripe, once each by Stripe's id, as they came. `mailed_invoice` is the invoice whose failed payment the
-- owner was told of because of this event: once per invoice, however often Stripe tries.
CREATE TABLE stripe_events (
    id             text PRIMARY KEY,
    account_id     {uuid} REFERENCES accounts (id),
    kind           text NOT NULL,
    payload        text NOT NULL,
    outcome        text,
    mailed_invoice text,
    received_at    bigint NOT NULL,
    processed_at   bigint,
    CONSTRAINT uq_stripe_events_invoice UNIQUE (mailed_invoice)
);
CREATE INDEX ix_stripe_events_received ON stripe_events (received_at);
CREATE INDEX ix_stripe_events_account ON stripe_events (account_id);

-- What one process does for all, at times: who holds it (by the database's clock), and when it was last done.
CREATE TABLE chores (
    name         text PRIMARY KEY,
    lease_token  {uuid},
    locked_until bigint,
    done_at      bigint
);
