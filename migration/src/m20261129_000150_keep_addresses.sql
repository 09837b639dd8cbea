-- The address that the messages of an enrollment went to, where its contact has another by now: written when the address
-- changes, which it does only while nothing is on its way, and so never by the send path.
CREATE TABLE former_addresses (
    account_id    {uuid} NOT NULL,
    enrollment_id {uuid} NOT NULL,
    email         text NOT NULL,
    email_key     text NOT NULL,
    PRIMARY KEY (account_id, enrollment_id),
    -- A process of before this removes enrollments and knows nothing of this table.
    CONSTRAINT fk_former_addresses_enrollment FOREIGN KEY (account_id, enrollment_id)
        REFERENCES enrollments (account_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_former_addresses_email ON former_addresses (account_id, email_key);
