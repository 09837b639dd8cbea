-- Deliveries of a campaign in one of the states that few have, in the order of their pages (ix_deliveries_uncertain is
-- another). Metrics count the first two. States that every delivery passes have none: sending would pay for it.
CREATE INDEX ix_deliveries_queued ON deliveries (campaign_id, id) WHERE state = 'queued';
CREATE INDEX ix_deliveries_deferred ON deliveries (campaign_id, id) WHERE state = 'deferred';
CREATE INDEX ix_deliveries_bounced ON deliveries (campaign_id, id) WHERE state = 'bounced';
CREATE INDEX ix_deliveries_skipped ON deliveries (campaign_id, id) WHERE state = 'skipped';
