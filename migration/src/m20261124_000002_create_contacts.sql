CREATE TABLE contact_imports (
    id           {uuid} PRIMARY KEY,
    account_id   {uuid} NOT NULL REFERENCES accounts (id),
    name         text NOT NULL,
    status       text NOT NULL CHECK (status IN ('processing', 'completed', 'failed')),
    record_count bigint NOT NULL DEFAULT 0,
    created_at   bigint NOT NULL,
    deleted_at   bigint,
    CONSTRAINT uq_contact_imports_account UNIQUE (account_id, id)
);
-- The purger's way to imports whose contacts are still to be removed.
CREATE INDEX ix_contact_imports_deleted ON contact_imports (deleted_at) WHERE deleted_at IS NOT NULL;

-- `email_key` is the lower-cased address while it is taken; a deleted contact gives it up (NULL).
CREATE TABLE contacts (
    id                {uuid} PRIMARY KEY,
    account_id        {uuid} NOT NULL,
    contact_import_id {uuid} NOT NULL,
    email             text NOT NULL,
    email_key         text,
    first_name        text,
    last_name         text,
    company           text,
    custom            {json},
    unsubscribed_at   bigint,
    created_at        bigint NOT NULL,
    deleted_at        bigint,
    CONSTRAINT uq_contacts_account UNIQUE (account_id, id),
    CONSTRAINT uq_contacts_email UNIQUE (account_id, email_key),
    CONSTRAINT fk_contacts_import FOREIGN KEY (account_id, contact_import_id) REFERENCES contact_imports (account_id, id)
);
CREATE INDEX ix_contacts_import ON contacts (account_id, contact_import_id, id);
CREATE INDEX ix_contacts_deleted ON contacts (deleted_at) WHERE deleted_at IS NOT NULL;

-- Addresses that unsubscribed, as keyed hashes: they outlive the contact.
CREATE TABLE suppressions (
    account_id {uuid} NOT NULL REFERENCES accounts (id),
    email_hash {bytes} NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (account_id, email_hash)
);
