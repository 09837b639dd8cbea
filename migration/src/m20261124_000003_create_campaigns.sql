CREATE TABLE outreaches (
    id              {uuid} PRIMARY KEY,
    account_id      {uuid} NOT NULL REFERENCES accounts (id),
    name            text NOT NULL,
    unique_contacts boolean NOT NULL,
    created_at      bigint NOT NULL,
    CONSTRAINT uq_outreaches_account UNIQUE (account_id, id)
);

CREATE TABLE campaigns (
    id                    {uuid} PRIMARY KEY,
    account_id            {uuid} NOT NULL REFERENCES accounts (id),
    outreach_id           {uuid},
    name                  text NOT NULL,
    status                text NOT NULL CHECK (status IN ('pending', 'active', 'paused', 'completed')),
    min_wait_seconds      integer NOT NULL CHECK (min_wait_seconds >= 0),
    max_wait_seconds      integer NOT NULL CHECK (max_wait_seconds >= min_wait_seconds AND max_wait_seconds <= 86400),
    verify_email_mx       boolean NOT NULL,
    bounce_rate_threshold double precision NOT NULL,
    created_at            bigint NOT NULL,
    deleted_at            bigint,
    CONSTRAINT uq_campaigns_account UNIQUE (account_id, id),
    CONSTRAINT fk_campaigns_outreach FOREIGN KEY (account_id, outreach_id) REFERENCES outreaches (account_id, id)
);
CREATE INDEX ix_campaigns_outreach ON campaigns (account_id, outreach_id, id);
CREATE INDEX ix_campaigns_status ON campaigns (account_id, status, id);
CREATE INDEX ix_campaigns_deleted ON campaigns (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE sequence_steps (
    id            {uuid} PRIMARY KEY,
    account_id    {uuid} NOT NULL,
    campaign_id   {uuid} NOT NULL,
    position      integer NOT NULL CHECK (position >= 1),
    subject       text NOT NULL,
    body_html     text NOT NULL,
    body_text     text,
    delay_minutes integer NOT NULL CHECK (delay_minutes >= 0),
    created_at    bigint NOT NULL,
    CONSTRAINT uq_sequence_steps_account UNIQUE (account_id, id),
    CONSTRAINT uq_sequence_steps_position UNIQUE (account_id, campaign_id, position),
    CONSTRAINT fk_sequence_steps_campaign FOREIGN KEY (account_id, campaign_id) REFERENCES campaigns (account_id, id)
);

-- A credential is a lane: at most one process (`holder`) sends through it at a time, and `wake_at` says when it is
-- next worth looking at (NULL: nothing to do, so an idle lane costs nothing).
CREATE TABLE smtp_credentials (
    id              {uuid} PRIMARY KEY,
    account_id      {uuid} NOT NULL,
    campaign_id     {uuid} NOT NULL,
    label           text,
    smtp_host       text NOT NULL,
    smtp_port       integer NOT NULL,
    smtp_username   text NOT NULL,
    smtp_password   {bytes} NOT NULL,
    from_name       text NOT NULL,
    from_email      text NOT NULL,
    daily_limit     integer NOT NULL CHECK (daily_limit >= 1),
    imap_host       text,
    imap_port       integer,
    imap_username   text,
    imap_password   {bytes},
    enabled_at      bigint NOT NULL,
    disabled_at     bigint,
    disabled_reason text,
    next_send_at    bigint NOT NULL DEFAULT 0,
    wake_at         bigint,
    holder          {uuid},
    failures        integer NOT NULL DEFAULT 0,
    created_at      bigint NOT NULL,
    deleted_at      bigint,
    CONSTRAINT uq_smtp_credentials_account UNIQUE (account_id, id),
    CONSTRAINT fk_smtp_credentials_campaign FOREIGN KEY (account_id, campaign_id) REFERENCES campaigns (account_id, id)
);
CREATE INDEX ix_smtp_credentials_campaign ON smtp_credentials (account_id, campaign_id, id);
-- Lanes that are awake and free, in the order in which they became due.
CREATE INDEX ix_smtp_credentials_wake ON smtp_credentials (wake_at) WHERE wake_at IS NOT NULL AND holder IS NULL;
CREATE INDEX ix_smtp_credentials_holder ON smtp_credentials (holder) WHERE holder IS NOT NULL;

-- A lane's UTC day: first steps are what `daily_limit` counts; the others feed the bounce rate.
CREATE TABLE credential_days (
    smtp_credential_id {uuid} NOT NULL,
    day                bigint NOT NULL,
    account_id         {uuid} NOT NULL,
    reserved           integer NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    first_sends        integer NOT NULL DEFAULT 0 CHECK (first_sends >= 0),
    sends              integer NOT NULL DEFAULT 0,
    bounced            integer NOT NULL DEFAULT 0,
    PRIMARY KEY (smtp_credential_id, day),
    CONSTRAINT fk_credential_days_credential FOREIGN KEY (account_id, smtp_credential_id)
        REFERENCES smtp_credentials (account_id, id)
);
CREATE INDEX ix_credential_days_account ON credential_days (account_id, smtp_credential_id);
