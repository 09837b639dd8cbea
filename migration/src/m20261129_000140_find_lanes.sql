-- Lanes whose enrollments may have to move are looked for every second, and few lanes are closed.
CREATE INDEX ix_smtp_credentials_deleted ON smtp_credentials (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX ix_smtp_credentials_disabled ON smtp_credentials (disabled_at) WHERE disabled_at IS NOT NULL;

-- Lanes that fail are taken by themselves: whoever looks for the others passes them by in the index.
DROP INDEX ix_smtp_credentials_wake;
CREATE INDEX ix_smtp_credentials_wake ON smtp_credentials (wake_at, failures) WHERE wake_at IS NOT NULL AND holder IS NULL;
