-- Who is alive. Times by the database's clock. A dead process never comes back: it starts anew under another id.
CREATE TABLE engine_processes (
    id           {uuid} PRIMARY KEY,
    name         text NOT NULL,
    started_at   bigint NOT NULL,
    heartbeat_at bigint NOT NULL,
    dead_at      bigint
);
CREATE INDEX ix_engine_processes_alive ON engine_processes (heartbeat_at) WHERE dead_at IS NULL;

CREATE TABLE jobs (
    id           {uuid} PRIMARY KEY,
    name         text NOT NULL,
    args         text NOT NULL,
    status       text NOT NULL CHECK (status IN ('queued', 'processing', 'completed', 'failed', 'cancelled')),
    run_at       bigint NOT NULL,
    attempts     integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL,
    priority     integer NOT NULL DEFAULT 0,
    unique_key   text,
    lease_token  {uuid},
    locked_until bigint,
    last_error   text,
    created_at   bigint NOT NULL,
    updated_at   bigint NOT NULL,
    CONSTRAINT uq_jobs_unique_key UNIQUE (unique_key)
);
CREATE INDEX ix_jobs_due ON jobs (priority DESC, run_at, id) WHERE status = 'queued';
CREATE INDEX ix_jobs_held ON jobs (locked_until) WHERE status = 'processing';
CREATE INDEX ix_jobs_ended ON jobs (updated_at) WHERE status IN ('completed', 'failed', 'cancelled');

-- Random keys of the application (links, suppressions), sealed by the master key so that its rotation never changes them.
CREATE TABLE app_keys (
    id         {uuid} PRIMARY KEY,
    purpose    text NOT NULL,
    sealed     {bytes} NOT NULL,
    created_at bigint NOT NULL,
    CONSTRAINT uq_app_keys_purpose UNIQUE (purpose)
);
