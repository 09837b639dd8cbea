-- What a process holds is found by its enrollment, which a claim and an outcome write anew with all indexes in any case. So a
-- delivery has the same indexed columns from its claim to its end, and PostgreSQL writes none of its indexes again (see there).
DROP INDEX ix_deliveries_held;
ALTER TABLE enrollments ADD COLUMN process_id {uuid};
UPDATE enrollments SET process_id = (
    SELECT d.process_id FROM deliveries d
    WHERE d.account_id = enrollments.account_id AND d.enrollment_id = enrollments.id AND d.state IN ('claimed', 'sending') LIMIT 1
) WHERE progress = 'claimed';
CREATE INDEX ix_enrollments_held ON enrollments (process_id) WHERE progress = 'claimed';

-- `stage` names the states that few have, and none of a claimed, a marked or a sent one.
DROP INDEX ix_deliveries_queued;
DROP INDEX ix_deliveries_deferred;
DROP INDEX ix_deliveries_bounced;
DROP INDEX ix_deliveries_skipped;
DROP INDEX ix_deliveries_uncertain;
ALTER TABLE deliveries DROP COLUMN stage;
ALTER TABLE deliveries ADD COLUMN stage text GENERATED ALWAYS AS
    (CASE WHEN state IN ('claimed', 'sending', 'sent') THEN NULL ELSE state END) {kept};
CREATE INDEX ix_deliveries_queued ON deliveries (campaign_id, id) WHERE stage = 'queued';
CREATE INDEX ix_deliveries_deferred ON deliveries (campaign_id, id) WHERE stage = 'deferred';
CREATE INDEX ix_deliveries_bounced ON deliveries (campaign_id, id) WHERE stage = 'bounced';
CREATE INDEX ix_deliveries_skipped ON deliveries (campaign_id, id) WHERE stage = 'skipped';
CREATE INDEX ix_deliveries_uncertain ON deliveries (campaign_id, id) WHERE stage = 'uncertain';

-- A Message-ID of ours says which delivery it is of.
DROP INDEX ix_deliveries_message;
