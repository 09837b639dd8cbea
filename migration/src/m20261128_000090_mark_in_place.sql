CREATE UNIQUE INDEX uq_deliveries_step ON deliveries (account_id, enrollment_id, position);

-- Deliveries of a campaign in one of the stages that few have, in the order of their pages. Metrics count most of them.
CREATE INDEX ix_deliveries_queued ON deliveries (campaign_id, id) WHERE stage = 'queued';
CREATE INDEX ix_deliveries_deferred ON deliveries (campaign_id, id) WHERE stage = 'deferred';
CREATE INDEX ix_deliveries_bounced ON deliveries (campaign_id, id) WHERE stage = 'bounced';
CREATE INDEX ix_deliveries_skipped ON deliveries (campaign_id, id) WHERE stage = 'skipped';
CREATE INDEX ix_deliveries_uncertain ON deliveries (campaign_id, id) WHERE stage = 'uncertain';
-- What a process holds, to be voided when it dies.
CREATE INDEX ix_deliveries_held ON deliveries (process_id) WHERE stage = 'held';
