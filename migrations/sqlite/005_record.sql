CREATE TABLE readings (
    program TEXT NOT NULL,
    gate TEXT NOT NULL,
    check_name TEXT NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (program, gate, check_name, at)
) STRICT;

-- Sealed reviews never change.
CREATE TABLE reviews (
    program TEXT NOT NULL,
    gate TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    sealed_at INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (program, gate, due_at)
) STRICT;

CREATE TABLE incidents (
    program TEXT NOT NULL,
    name TEXT NOT NULL,
    severity TEXT NOT NULL,
    category TEXT NOT NULL,
    title TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    resolved_at INTEGER,
    acknowledged_at INTEGER,
    source TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    PRIMARY KEY (program, name)
) STRICT;
CREATE INDEX incidents_open ON incidents (program, started_at) WHERE resolved_at IS NULL;

-- People's words: given once, never changed.
CREATE TABLE signoffs (
    program TEXT NOT NULL,
    name TEXT NOT NULL,
    by_person TEXT NOT NULL,
    says TEXT NOT NULL,
    gate TEXT,
    check_name TEXT,
    rollout TEXT,
    stage TEXT,
    run TEXT,
    object TEXT,
    digest TEXT,
    note TEXT,
    until INTEGER,
    first_seen INTEGER NOT NULL,
    verified INTEGER NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (program, name)
) STRICT;
