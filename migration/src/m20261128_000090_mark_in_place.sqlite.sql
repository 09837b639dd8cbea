-- SQLite takes a UNIQUE out of a table only by making the table anew: here that of a step, which was one index more beside
-- that of an enrollment. `stage` is what the indexes of states name, for PostgreSQL's sake (see there).
CREATE TABLE deliveries_new (
    id                  blob PRIMARY KEY,
    account_id          blob NOT NULL,
    campaign_id         blob NOT NULL,
    enrollment_id       blob NOT NULL,
    smtp_credential_id  blob NOT NULL,
    position            integer NOT NULL,
    state               text NOT NULL CHECK (state IN
        ('queued', 'claimed', 'sending', 'deferred', 'sent', 'bounced', 'skipped', 'uncertain')),
    attempts            integer NOT NULL DEFAULT 0,
    resend              boolean NOT NULL DEFAULT false,
    message_id          text NOT NULL,
    provider_message_id text,
    smtp_reply          text,
    token               blob,
    process_id          blob,
    reserved_period     bigint,
    reserved_day        bigint,
    sent_at             bigint,
    created_at          bigint NOT NULL,
    stage               text GENERATED ALWAYS AS
        (CASE state WHEN 'claimed' THEN 'held' WHEN 'sending' THEN 'held' WHEN 'sent' THEN NULL ELSE state END) VIRTUAL,
    CONSTRAINT uq_deliveries_account UNIQUE (account_id, id),
    CONSTRAINT fk_deliveries_enrollment FOREIGN KEY (account_id, enrollment_id) REFERENCES enrollments (account_id, id),
    CONSTRAINT fk_deliveries_credential FOREIGN KEY (account_id, smtp_credential_id)
        REFERENCES smtp_credentials (account_id, id)
);
INSERT INTO deliveries_new (
    id, account_id, campaign_id, enrollment_id, smtp_credential_id, position, state, attempts, resend,
    message_id, provider_message_id, smtp_reply, token, process_id, reserved_period, reserved_day,
    sent_at, created_at
) SELECT
    id, account_id, campaign_id, enrollment_id, smtp_credential_id, position, state, attempts, resend,
    message_id, provider_message_id, smtp_reply, token, process_id, reserved_period, reserved_day,
    sent_at, created_at
FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE deliveries_new RENAME TO deliveries;
CREATE INDEX ix_deliveries_credential ON deliveries (account_id, smtp_credential_id);
CREATE INDEX ix_deliveries_page ON deliveries (campaign_id, id);
CREATE INDEX ix_deliveries_message ON deliveries (account_id, message_id);
CREATE INDEX ix_deliveries_provider ON deliveries (account_id, provider_message_id) WHERE provider_message_id IS NOT NULL;
