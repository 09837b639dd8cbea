-- Where clients want to be told of events. `holder` is the engine process that delivers to it: one at a time, so that
-- the bound of connections per endpoint holds over all processes.
CREATE TABLE webhooks (
    id                   {uuid} PRIMARY KEY,
    account_id           {uuid} NOT NULL REFERENCES accounts (id),
    url                  text NOT NULL,
    event_filters        {json} NOT NULL,
    secret               {bytes} NOT NULL,
    consecutive_failures integer NOT NULL DEFAULT 0,
    failing_since        bigint,
    disabled_at          bigint,
    holder               {uuid},
    created_at           bigint NOT NULL,
    deleted_at           bigint,
    CONSTRAINT uq_webhooks_account UNIQUE (account_id, id)
);
-- What an event asks: is anybody listening?
CREATE INDEX ix_webhooks_listening ON webhooks (account_id) WHERE disabled_at IS NULL AND deleted_at IS NULL;
CREATE INDEX ix_webhooks_holder ON webhooks (holder) WHERE holder IS NOT NULL;
CREATE INDEX ix_webhooks_deleted ON webhooks (id) WHERE deleted_at IS NOT NULL;

-- An event for one webhook, written in the transaction that caused it. `payload` is the body as it is sent, the same on
-- every attempt. `tries` counts since the event or the last redelivery, `attempts` all.
CREATE TABLE webhook_deliveries (
    id           {uuid} PRIMARY KEY,
    account_id   {uuid} NOT NULL,
    webhook_id   {uuid} NOT NULL,
    event_type   text NOT NULL,
    payload      text NOT NULL,
    state        text NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    tries        integer NOT NULL DEFAULT 0,
    attempts     integer NOT NULL DEFAULT 0,
    due_at       bigint NOT NULL,
    status_code  integer,
    error        text,
    delivered_at bigint,
    created_at   bigint NOT NULL,
    CONSTRAINT uq_webhook_deliveries_account UNIQUE (account_id, id),
    CONSTRAINT fk_webhook_deliveries_webhook FOREIGN KEY (account_id, webhook_id) REFERENCES webhooks (account_id, id)
);
CREATE INDEX ix_webhook_deliveries_page ON webhook_deliveries (account_id, webhook_id, id);
-- What is to be sent, endpoint by endpoint: also how the engine finds the endpoints that have anything.
CREATE INDEX ix_webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at) WHERE state = 'pending';

CREATE TABLE webhook_attempts (
    account_id          {uuid} NOT NULL,
    webhook_delivery_id {uuid} NOT NULL,
    attempt             integer NOT NULL,
    status_code         integer,
    error               text,
    duration_ms         bigint NOT NULL,
    created_at          bigint NOT NULL,
    PRIMARY KEY (account_id, webhook_delivery_id, attempt),
    CONSTRAINT fk_webhook_attempts_delivery FOREIGN KEY (account_id, webhook_delivery_id)
        REFERENCES webhook_deliveries (account_id, id)
);
