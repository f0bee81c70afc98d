-- What API processes serve: flag definitions with the holds in force.
CREATE TABLE flag_snapshots (
    revision INTEGER PRIMARY KEY,
    digest TEXT NOT NULL,
    body TEXT NOT NULL,
    holds TEXT NOT NULL,
    source_revision TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Which process serves which revision, as each says itself.
CREATE TABLE api_processes (
    id TEXT PRIMARY KEY,
    workload TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    reported_at INTEGER NOT NULL,
    flag_revision INTEGER NOT NULL
) STRICT;

-- Administration and service tokens, by digest only.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
