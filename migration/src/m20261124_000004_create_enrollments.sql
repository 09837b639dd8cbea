-- One row per campaign: what its pages show, changed in the transaction that changes the facts.
CREATE TABLE campaign_totals (
    campaign_id       {uuid} PRIMARY KEY,
    account_id        {uuid} NOT NULL,
    pending           bigint NOT NULL DEFAULT 0,
    sent              bigint NOT NULL DEFAULT 0,
    opened            bigint NOT NULL DEFAULT 0,
    replied           bigint NOT NULL DEFAULT 0,
    bounced           bigint NOT NULL DEFAULT 0,
    unsubscribed      bigint NOT NULL DEFAULT 0,
    sent_or_bounced   bigint NOT NULL DEFAULT 0,
    uncertain         bigint NOT NULL DEFAULT 0,
    mx_invalid        bigint NOT NULL DEFAULT 0,
    cross_campaign    bigint NOT NULL DEFAULT 0,
    CONSTRAINT fk_campaign_totals_campaign FOREIGN KEY (account_id, campaign_id) REFERENCES campaigns (account_id, id)
);
CREATE INDEX ix_campaign_totals_campaign ON campaign_totals (account_id, campaign_id);

-- A batch is what one dispatch releases. While `dispatched_at` is NULL it takes enrollments (at most one such per
-- number); then `due_at` says when its first steps may go, and `drained` that none is left to start.
CREATE TABLE batches (
    id            {uuid} PRIMARY KEY,
    account_id    {uuid} NOT NULL,
    campaign_id   {uuid} NOT NULL,
    batch_number  integer NOT NULL CHECK (batch_number >= 0),
    dispatched_at bigint,
    due_at        bigint,
    drained       boolean NOT NULL DEFAULT false,
    undispatched  bigint NOT NULL DEFAULT 0,
    pending       bigint NOT NULL DEFAULT 0,
    sent          bigint NOT NULL DEFAULT 0,
    opened        bigint NOT NULL DEFAULT 0,
    replied       bigint NOT NULL DEFAULT 0,
    bounced       bigint NOT NULL DEFAULT 0,
    unsubscribed  bigint NOT NULL DEFAULT 0,
    created_at    bigint NOT NULL,
    CONSTRAINT uq_batches_account UNIQUE (account_id, id),
    CONSTRAINT fk_batches_campaign FOREIGN KEY (account_id, campaign_id) REFERENCES campaigns (account_id, id)
);
CREATE INDEX ix_batches_campaign ON batches (account_id, campaign_id, batch_number);
CREATE UNIQUE INDEX uq_batches_open ON batches (campaign_id, batch_number) WHERE dispatched_at IS NULL;
-- The next batch with first steps to start.
CREATE INDEX ix_batches_startable ON batches (campaign_id, batch_number, id) WHERE dispatched_at IS NOT NULL AND NOT drained;

-- `status` is what the contract shows; `progress` is where the send path stands:
-- queued (first step not taken) → claimed ⇄ waiting (next step or retry at due_at, on its lane) → finished; uncertain holds.
CREATE TABLE enrollments (
    id                 {uuid} PRIMARY KEY,
    account_id         {uuid} NOT NULL,
    campaign_id        {uuid} NOT NULL,
    contact_id         {uuid} NOT NULL,
    batch_id           {uuid} NOT NULL,
    batch_number       integer NOT NULL,
    priority           integer NOT NULL DEFAULT 0,
    smtp_credential_id {uuid},
    lane_moved         boolean NOT NULL DEFAULT false,
    status             text NOT NULL
        CHECK (status IN ('pending', 'sent', 'opened', 'replied', 'bounced', 'unsubscribed')),
    progress           text NOT NULL CHECK (progress IN ('queued', 'claimed', 'waiting', 'uncertain', 'finished')),
    next_position      integer NOT NULL DEFAULT 1,
    current_step       integer NOT NULL DEFAULT 0,
    due_at             bigint,
    retrying           boolean NOT NULL DEFAULT false,
    sent_at            bigint,
    opened_at          bigint,
    replied_at         bigint,
    bounced_at         bigint,
    unsubscribed_at    bigint,
    bounce_reason      text,
    created_at         bigint NOT NULL,
    CONSTRAINT uq_enrollments_account UNIQUE (account_id, id),
    CONSTRAINT uq_enrollments_contact UNIQUE (account_id, campaign_id, contact_id),
    CONSTRAINT fk_enrollments_campaign FOREIGN KEY (account_id, campaign_id) REFERENCES campaigns (account_id, id),
    CONSTRAINT fk_enrollments_contact FOREIGN KEY (account_id, contact_id) REFERENCES contacts (account_id, id),
    CONSTRAINT fk_enrollments_batch FOREIGN KEY (account_id, batch_id) REFERENCES batches (account_id, id),
    CONSTRAINT fk_enrollments_credential FOREIGN KEY (account_id, smtp_credential_id)
        REFERENCES smtp_credentials (account_id, id)
);
CREATE INDEX ix_enrollments_contact ON enrollments (account_id, contact_id);
CREATE INDEX ix_enrollments_page ON enrollments (campaign_id, id);
CREATE INDEX ix_enrollments_status ON enrollments (campaign_id, status, id);
CREATE INDEX ix_enrollments_batch_number ON enrollments (campaign_id, batch_number, id);
CREATE INDEX ix_enrollments_batch ON enrollments (account_id, batch_id);
-- First steps of a batch in their order.
CREATE INDEX ix_enrollments_queued ON enrollments (batch_id, priority DESC, id) WHERE progress = 'queued';
-- Follow-ups and retries of a lane in the order in which they fall due.
CREATE INDEX ix_enrollments_due ON enrollments (smtp_credential_id, due_at) WHERE progress = 'waiting';
-- Whether a campaign can still send.
CREATE INDEX ix_enrollments_unfinished ON enrollments (campaign_id) WHERE progress IN ('claimed', 'waiting', 'uncertain');
CREATE INDEX ix_enrollments_credential ON enrollments (account_id, smtp_credential_id);
CREATE INDEX ix_enrollments_bounced ON enrollments (campaign_id, bounced_at) WHERE bounced_at IS NOT NULL;

-- One row per enrollment and step. `token` fences: only who holds it may change a claimed or sending row.
CREATE TABLE deliveries (
    id                  {uuid} PRIMARY KEY,
    account_id          {uuid} NOT NULL,
    campaign_id         {uuid} NOT NULL,
    enrollment_id       {uuid} NOT NULL,
    smtp_credential_id  {uuid} NOT NULL,
    position            integer NOT NULL,
    state               text NOT NULL CHECK (state IN
        ('queued', 'claimed', 'sending', 'deferred', 'sent', 'bounced', 'skipped', 'uncertain')),
    attempts            integer NOT NULL DEFAULT 0,
    resend              boolean NOT NULL DEFAULT false,
    message_id          text NOT NULL,
    provider_message_id text,
    smtp_reply          text,
    token               {uuid},
    process_id          {uuid},
    reserved_period     bigint,
    reserved_day        bigint,
    sent_at             bigint,
    created_at          bigint NOT NULL,
    CONSTRAINT uq_deliveries_account UNIQUE (account_id, id),
    CONSTRAINT uq_deliveries_step UNIQUE (enrollment_id, position),
    CONSTRAINT fk_deliveries_enrollment FOREIGN KEY (account_id, enrollment_id) REFERENCES enrollments (account_id, id),
    CONSTRAINT fk_deliveries_credential FOREIGN KEY (account_id, smtp_credential_id)
        REFERENCES smtp_credentials (account_id, id)
);
CREATE INDEX ix_deliveries_enrollment ON deliveries (account_id, enrollment_id);
CREATE INDEX ix_deliveries_credential ON deliveries (account_id, smtp_credential_id);
CREATE INDEX ix_deliveries_page ON deliveries (campaign_id, id);
CREATE INDEX ix_deliveries_uncertain ON deliveries (campaign_id, id) WHERE state = 'uncertain';
-- What a process holds, to be voided when it dies.
CREATE INDEX ix_deliveries_held ON deliveries (process_id) WHERE state IN ('claimed', 'sending');

CREATE TABLE enrollment_skips (
    id          {uuid} PRIMARY KEY,
    account_id  {uuid} NOT NULL,
    campaign_id {uuid} NOT NULL,
    contact_id  {uuid} NOT NULL,
    email       text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('mx_invalid', 'cross_campaign_duplicate')),
    reason      text NOT NULL,
    created_at  bigint NOT NULL,
    CONSTRAINT uq_enrollment_skips_account UNIQUE (account_id, id),
    CONSTRAINT uq_enrollment_skips_contact UNIQUE (account_id, campaign_id, contact_id, kind),
    CONSTRAINT fk_enrollment_skips_campaign FOREIGN KEY (account_id, campaign_id) REFERENCES campaigns (account_id, id),
    CONSTRAINT fk_enrollment_skips_contact FOREIGN KEY (account_id, contact_id) REFERENCES contacts (account_id, id)
);
CREATE INDEX ix_enrollment_skips_page ON enrollment_skips (campaign_id, id);
CREATE INDEX ix_enrollment_skips_contact ON enrollment_skips (account_id, contact_id);

-- A large import that is being enrolled in chunks; `position` is the last contact looked at.
CREATE TABLE enroll_jobs (
    id                {uuid} PRIMARY KEY,
    account_id        {uuid} NOT NULL,
    campaign_id       {uuid} NOT NULL,
    contact_import_id {uuid} NOT NULL,
    batch_size        integer NOT NULL,
    status            text NOT NULL CHECK (status IN ('processing', 'completed', 'failed')),
    position          {uuid},
    processed         bigint NOT NULL DEFAULT 0,
    enrolled          bigint NOT NULL DEFAULT 0,
    skipped_count     bigint NOT NULL DEFAULT 0,
    batch_number      integer NOT NULL DEFAULT 0,
    batches           integer NOT NULL DEFAULT 0,
    created_at        bigint NOT NULL,
    CONSTRAINT uq_enroll_jobs_account UNIQUE (account_id, id),
    CONSTRAINT fk_enroll_jobs_campaign FOREIGN KEY (account_id, campaign_id) REFERENCES campaigns (account_id, id),
    CONSTRAINT fk_enroll_jobs_import FOREIGN KEY (account_id, contact_import_id)
        REFERENCES contact_imports (account_id, id)
);
CREATE INDEX ix_enroll_jobs_campaign ON enroll_jobs (account_id, campaign_id);
CREATE INDEX ix_enroll_jobs_import ON enroll_jobs (account_id, contact_import_id);

-- Messages of test_send: marked before their content is handed over and counted as sends, like any other.
CREATE TABLE test_messages (
    id                 {uuid} PRIMARY KEY,
    account_id         {uuid} NOT NULL,
    campaign_id        {uuid} NOT NULL,
    smtp_credential_id {uuid} NOT NULL,
    email              text NOT NULL,
    position           integer NOT NULL,
    state              text NOT NULL CHECK (state IN ('claimed', 'sending', 'sent', 'failed', 'uncertain')),
    message_id         text NOT NULL,
    smtp_reply         text,
    reserved_period    bigint,
    locked_until       bigint NOT NULL,
    created_at         bigint NOT NULL,
    CONSTRAINT uq_test_messages_account UNIQUE (account_id, id),
    CONSTRAINT fk_test_messages_campaign FOREIGN KEY (account_id, campaign_id) REFERENCES campaigns (account_id, id),
    CONSTRAINT fk_test_messages_credential FOREIGN KEY (account_id, smtp_credential_id)
        REFERENCES smtp_credentials (account_id, id)
);
CREATE INDEX ix_test_messages_campaign ON test_messages (account_id, campaign_id);
CREATE INDEX ix_test_messages_credential ON test_messages (account_id, smtp_credential_id);
CREATE INDEX ix_test_messages_held ON test_messages (locked_until) WHERE state IN ('claimed', 'sending');
