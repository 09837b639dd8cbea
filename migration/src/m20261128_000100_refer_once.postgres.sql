-- Half of what enrolling costs is that PostgreSQL looks up whatever a row refers to, by a query for each. A batch belongs
-- to one campaign and has one number, so an enrollment that refers to all three at once is right about each of them; and
-- the index of its lists by number finds the enrollments of a batch as well.
ALTER TABLE batches ADD CONSTRAINT uq_batches_number UNIQUE (account_id, campaign_id, batch_number, id);
ALTER TABLE enrollments DROP CONSTRAINT fk_enrollments_campaign;
ALTER TABLE enrollments DROP CONSTRAINT fk_enrollments_batch;
ALTER TABLE enrollments ADD CONSTRAINT fk_enrollments_batch
    FOREIGN KEY (account_id, campaign_id, batch_number, batch_id) REFERENCES batches (account_id, campaign_id, batch_number, id);
DROP INDEX ix_enrollments_batch;
