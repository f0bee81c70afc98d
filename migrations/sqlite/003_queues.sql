-- What leaves the house: the intent first, then a receipt. `once` marks what must not go out a second time when nobody
-- knows whether it did. `cohort` marks what a freeze stops.
CREATE TABLE outbox (
    id TEXT PRIMARY KEY,
    program TEXT NOT NULL,
    cohort TEXT,
    kind TEXT NOT NULL,
    effect_key TEXT NOT NULL UNIQUE,
    payload TEXT NOT NULL,
    once INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'claimed', 'done', 'failed', 'uncertain', 'cancelled')),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    deadline INTEGER,
    claimed_at INTEGER,
    claimed_by TEXT,
    lease_until INTEGER,
    done_at INTEGER,
    receipt TEXT,
    last_error TEXT,
    epoch INTEGER
) STRICT;
CREATE INDEX outbox_due ON outbox (kind, next_at, id) WHERE state IN ('waiting', 'claimed');
CREATE INDEX outbox_by_state ON outbox (program, state, created_at);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    program TEXT NOT NULL DEFAULT '',
    kind TEXT NOT NULL,
    unique_key TEXT UNIQUE,
    payload TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    run_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    claimed_by TEXT,
    lease_until INTEGER,
    finished_at INTEGER,
    result TEXT,
    last_error TEXT
) STRICT;
CREATE INDEX jobs_due ON jobs (kind, run_at, id) WHERE state IN ('waiting', 'running');
CREATE INDEX jobs_by_kind ON jobs (kind, finished_at);

-- Answers already given, so that a repeated request gets the same one.
CREATE TABLE idempotency_keys (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    request_digest BLOB NOT NULL,
    status INTEGER NOT NULL,
    response TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
