-- Requests of an account in an hour, by what kind of key and which operation: its size does not grow with traffic.
-- `hour` is the hour's first moment, `path` the route's template as users know it (`/campaigns/:id`).
CREATE TABLE usage_hours (
    account_id  {uuid} NOT NULL REFERENCES accounts (id),
    hour        bigint NOT NULL,
    client_kind text NOT NULL CHECK (client_kind IN ('direct', 'mcp', 'sdk')),
    method      text NOT NULL,
    path        text NOT NULL,
    requests    bigint NOT NULL CHECK (requests > 0),
    PRIMARY KEY (account_id, hour, client_kind, method, path)
);
-- What has been kept for long enough.
CREATE INDEX ix_usage_hours_hour ON usage_hours (hour);
