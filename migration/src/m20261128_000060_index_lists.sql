-- Whether an account has an import that is deleted and not yet removed: its contacts may still hold addresses. Asked by
-- every import, and few rows ever.
CREATE INDEX ix_contact_imports_hidden ON contact_imports (account_id) WHERE deleted_at IS NOT NULL;

-- With the account in front: SQLite, which has no statistics, takes (account_id, id) for better than an index that knows
-- campaign, status or batch and not the account, and looks through every enrollment of the account.
DROP INDEX ix_enrollments_page;
DROP INDEX ix_enrollments_status;
DROP INDEX ix_enrollments_batch_number;
CREATE INDEX ix_enrollments_page ON enrollments (account_id, campaign_id, id);
CREATE INDEX ix_enrollments_status ON enrollments (account_id, campaign_id, status, id);
CREATE INDEX ix_enrollments_batch_number ON enrollments (account_id, campaign_id, batch_number, id);

-- The newest enrollments of a contact: without the id, SQLite would rather go backwards through all of the account.
DROP INDEX ix_enrollments_contact;
CREATE INDEX ix_enrollments_contact ON enrollments (account_id, contact_id, id);

-- Enrollments that have a lane: enrolling, which is done by the million, need not write the others down.
DROP INDEX ix_enrollments_credential;
CREATE INDEX ix_enrollments_credential ON enrollments (account_id, smtp_credential_id)
    WHERE smtp_credential_id IS NOT NULL;
