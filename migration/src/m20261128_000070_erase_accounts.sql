-- An account that is erased keeps its row, without its address, for the hashes of who unsubscribed from it. `deleted_at`
-- is when erasing began, `erased_at` when the last of its rows was gone.
ALTER TABLE accounts ADD COLUMN erased_at bigint;
CREATE INDEX ix_accounts_deleted ON accounts (deleted_at) WHERE deleted_at IS NOT NULL;
