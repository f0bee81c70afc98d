-- What API processes serve: flag definitions with the holds in force.
CREATE TABLE flag_snapshots (
    revision bigint PRIMARY KEY,
    digest text NOT NULL,
    body jsonb NOT NULL,
    holds jsonb NOT NULL,
    source_revision text NOT NULL,
    created_at timestamptz NOT NULL
);

-- Which process serves which revision, as each says itself.
CREATE TABLE api_processes (
    id uuid PRIMARY KEY,
    workload text NOT NULL,
    pid bigint NOT NULL,
    started_at timestamptz NOT NULL,
    reported_at timestamptz NOT NULL,
    flag_revision bigint NOT NULL
);

-- Administration and service tokens, by digest only.
CREATE TABLE tokens (
    id uuid PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    name text NOT NULL,
    scopes jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);
