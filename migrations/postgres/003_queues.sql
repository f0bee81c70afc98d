-- What leaves the house: the intent first, then a receipt. `once` marks what must not go out a second time when nobody
-- knows whether it did. `cohort` marks what a freeze stops.
CREATE TABLE outbox (
    id uuid PRIMARY KEY,
    program text NOT NULL,
    cohort text,
    kind text NOT NULL,
    effect_key text NOT NULL UNIQUE,
    payload jsonb NOT NULL,
    once boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'claimed', 'done', 'failed', 'uncertain', 'cancelled')),
    attempts bigint NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    deadline timestamptz,
    claimed_at timestamptz,
    claimed_by text,
    lease_until timestamptz,
    done_at timestamptz,
    receipt jsonb,
    last_error text,
    epoch bigint
);
CREATE INDEX outbox_due ON outbox (kind, next_at, id) WHERE state IN ('waiting', 'claimed');
CREATE INDEX outbox_by_state ON outbox (program, state, created_at);

CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    program text NOT NULL DEFAULT '',
    kind text NOT NULL,
    unique_key text UNIQUE,
    payload jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    run_at timestamptz NOT NULL,
    attempts bigint NOT NULL DEFAULT 0,
    max_attempts bigint NOT NULL,
    created_at timestamptz NOT NULL,
    claimed_by text,
    lease_until timestamptz,
    finished_at timestamptz,
    result jsonb,
    last_error text
);
CREATE INDEX jobs_due ON jobs (kind, run_at, id) WHERE state IN ('waiting', 'running');
CREATE INDEX jobs_by_kind ON jobs (kind, finished_at);

-- Answers already given, so that a repeated request gets the same one.
CREATE TABLE idempotency_keys (
    scope text NOT NULL,
    key text NOT NULL,
    request_digest bytea NOT NULL,
    status bigint NOT NULL,
    response jsonb,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
