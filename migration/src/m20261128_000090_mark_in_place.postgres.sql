-- PostgreSQL writes every index of a row again when a column that one of them names has changed, be it in a condition. So no
-- index names `state`, which changes with every mark: `stage` is the same before and after. A new version of a row must
-- find room beside the old one, too.
DROP INDEX ix_deliveries_queued;
DROP INDEX ix_deliveries_deferred;
DROP INDEX ix_deliveries_bounced;
DROP INDEX ix_deliveries_skipped;
DROP INDEX ix_deliveries_uncertain;
DROP INDEX ix_deliveries_held;
ALTER TABLE deliveries SET (fillfactor = 80);
ALTER TABLE deliveries ADD COLUMN stage text GENERATED ALWAYS AS
    (CASE state WHEN 'claimed' THEN 'held' WHEN 'sending' THEN 'held' WHEN 'sent' THEN NULL ELSE state END) STORED;

-- A delivery is found by its enrollment with or without the step.
DROP INDEX ix_deliveries_enrollment;
ALTER TABLE deliveries DROP CONSTRAINT uq_deliveries_step;
