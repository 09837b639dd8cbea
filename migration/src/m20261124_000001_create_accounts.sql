CREATE TABLE plans (
    id              {uuid} PRIMARY KEY,
    slug            text NOT NULL,
    name            text NOT NULL,
    tier            integer NOT NULL,
    monthly_limit   bigint NOT NULL CHECK (monthly_limit >= 0),
    public          boolean NOT NULL,
    stripe_price_id text,
    archived_at     bigint,
    created_at      bigint NOT NULL,
    CONSTRAINT uq_plans_slug UNIQUE (slug)
);

CREATE TABLE accounts (
    id         {uuid} PRIMARY KEY,
    plan_id    {uuid} NOT NULL REFERENCES plans (id),
    email      text NOT NULL,
    name       text,
    created_at bigint NOT NULL,
    deleted_at bigint,
    CONSTRAINT uq_accounts_email UNIQUE (email)
);
CREATE INDEX ix_accounts_plan ON accounts (plan_id);

CREATE TABLE api_keys (
    id           {uuid} PRIMARY KEY,
    account_id   {uuid} NOT NULL REFERENCES accounts (id),
    digest       {bytes} NOT NULL,
    prefix       text NOT NULL,
    label        text NOT NULL,
    client_kind  text NOT NULL CHECK (client_kind IN ('direct', 'mcp', 'sdk')),
    last_used_at bigint,
    created_at   bigint NOT NULL,
    revoked_at   bigint,
    CONSTRAINT uq_api_keys_account UNIQUE (account_id, id),
    CONSTRAINT uq_api_keys_digest UNIQUE (digest)
);

-- What an account has sent in a billing period; `reserved` is promised to messages that are on their way.
CREATE TABLE account_periods (
    account_id   {uuid} NOT NULL REFERENCES accounts (id),
    period_start bigint NOT NULL,
    period_end   bigint NOT NULL,
    sends        bigint NOT NULL DEFAULT 0 CHECK (sends >= 0),
    reserved     bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    PRIMARY KEY (account_id, period_start)
);
