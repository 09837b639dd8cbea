-- Answers of requests that carried an Idempotency-Key, for 24 hours. `id` is made from account and key, so that one look
-- finds it. `account_id` has no foreign key: of a signup it stands for the client's address. `status` is null while
-- a request that talks to the outside is running; its holder renews `locked_until` by the database's clock.
CREATE TABLE idempotency_keys (
    account_id   {uuid} NOT NULL,
    id           {uuid} NOT NULL,
    fingerprint  {bytes} NOT NULL,
    status       integer,
    code         text,
    headers      text NOT NULL,
    body         {bytes},
    run_id       {uuid} NOT NULL,
    lease_token  {uuid},
    locked_until bigint,
    created_at   bigint NOT NULL,
    expires_at   bigint NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (account_id, id)
);
CREATE INDEX ix_idempotency_keys_expired ON idempotency_keys (expires_at);

-- The run of a keyed request that a test message belongs to: whoever takes a run over sends none of its messages again.
ALTER TABLE test_messages ADD COLUMN run_id {uuid};
CREATE UNIQUE INDEX uq_test_messages_run ON test_messages (account_id, run_id, email, position) WHERE run_id IS NOT NULL;
