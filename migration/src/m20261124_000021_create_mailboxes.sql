-- A mailbox that credentials of an account name: one row for any number of them. Where reading stands (`uid_validity`,
-- `last_uid`) changes only in the transaction of the effects. Times of the lease are the database's.
CREATE TABLE mailboxes (
    id           {uuid} PRIMARY KEY,
    account_id   {uuid} NOT NULL REFERENCES accounts (id),
    host         text NOT NULL,
    port         integer NOT NULL,
    username     text NOT NULL,
    uid_validity bigint,
    last_uid     bigint NOT NULL DEFAULT 0,
    next_poll_at bigint NOT NULL,
    last_read_at bigint,
    failures     integer NOT NULL DEFAULT 0,
    last_error   text,
    process_id   {uuid},
    lease_token  {uuid},
    leased_until bigint,
    created_at   bigint NOT NULL,
    CONSTRAINT uq_mailboxes_account UNIQUE (account_id, id),
    CONSTRAINT uq_mailboxes_name UNIQUE (account_id, host, port, username)
);
CREATE INDEX ix_mailboxes_due ON mailboxes (next_poll_at);

-- A mail that could not be read, counted; after three failures it is skipped (`parked_at`).
CREATE TABLE parked_mails (
    id           {uuid} PRIMARY KEY,
    account_id   {uuid} NOT NULL,
    mailbox_id   {uuid} NOT NULL,
    uid_validity bigint NOT NULL,
    uid          bigint NOT NULL,
    failures     integer NOT NULL,
    last_error   text NOT NULL,
    parked_at    bigint,
    created_at   bigint NOT NULL,
    CONSTRAINT uq_parked_mails_account UNIQUE (account_id, id),
    CONSTRAINT uq_parked_mails_uid UNIQUE (mailbox_id, uid_validity, uid),
    CONSTRAINT fk_parked_mails_mailbox FOREIGN KEY (account_id, mailbox_id) REFERENCES mailboxes (account_id, id)
);
CREATE INDEX ix_parked_mails_mailbox ON parked_mails (account_id, mailbox_id);

-- When a machine answered for the contact, the first time.
ALTER TABLE enrollments ADD COLUMN auto_replied_at bigint;

-- What an answer or a notice names.
CREATE INDEX ix_deliveries_message ON deliveries (account_id, message_id);
CREATE INDEX ix_deliveries_provider ON deliveries (account_id, provider_message_id) WHERE provider_message_id IS NOT NULL;
-- The credentials of a mailbox.
CREATE INDEX ix_smtp_credentials_mailbox ON smtp_credentials (account_id, imap_username) WHERE imap_username IS NOT NULL;
