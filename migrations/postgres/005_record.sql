CREATE TABLE readings (
    program text NOT NULL,
    gate text NOT NULL,
    check_name text NOT NULL,
    at timestamptz NOT NULL,
    body jsonb NOT NULL,
    PRIMARY KEY (program, gate, check_name, at)
);

-- Sealed reviews never change.
CREATE TABLE reviews (
    program text NOT NULL,
    gate text NOT NULL,
    due_at timestamptz NOT NULL,
    sealed_at timestamptz NOT NULL,
    verdict text NOT NULL,
    body jsonb NOT NULL,
    PRIMARY KEY (program, gate, due_at)
);

CREATE TABLE incidents (
    program text NOT NULL,
    name text NOT NULL,
    severity text NOT NULL,
    category text NOT NULL,
    title text NOT NULL,
    started_at timestamptz NOT NULL,
    resolved_at timestamptz,
    acknowledged_at timestamptz,
    source text NOT NULL,
    first_seen timestamptz NOT NULL,
    PRIMARY KEY (program, name)
);
CREATE INDEX incidents_open ON incidents (program, started_at) WHERE resolved_at IS NULL;

-- People's words: given once, never changed.
CREATE TABLE signoffs (
    program text NOT NULL,
    name text NOT NULL,
    by_person text NOT NULL,
    says text NOT NULL,
    gate text,
    check_name text,
    rollout text,
    stage text,
    run text,
    object text,
    digest text,
    note text,
    until timestamptz,
    first_seen timestamptz NOT NULL,
    verified boolean NOT NULL,
    source text NOT NULL,
    PRIMARY KEY (program, name)
);
