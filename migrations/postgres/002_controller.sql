-- Who leads, and how often the lead has changed: every writing transaction of the controller reads the epoch.
CREATE TABLE leadership (
    id bigint PRIMARY KEY CHECK (id = 1),
    epoch bigint NOT NULL,
    holder text NOT NULL,
    renewed_at timestamptz NOT NULL
);
INSERT INTO leadership (id, epoch, holder, renewed_at) VALUES (1, 0, '', '1970-01-01T00:00:00Z');

-- What `decide` remembers from one pass to the next.
CREATE TABLE memory (
    program text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    body jsonb NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (program, kind, name)
);

-- What would be a resource's status on Kubernetes.
CREATE TABLE resource_status (
    kind text NOT NULL,
    name text NOT NULL,
    program text NOT NULL,
    status jsonb NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (kind, name)
);

-- The last accepted document of a resource, which goes on while a newer one is invalid.
CREATE TABLE last_good (
    kind text NOT NULL,
    name text NOT NULL,
    program text NOT NULL,
    revision text NOT NULL,
    body jsonb NOT NULL,
    accepted_at timestamptz NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Changes asked for over HTTP, carried out by the controller where the resource lives.
CREATE TABLE intents (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    actor text NOT NULL,
    body jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'done', 'refused')),
    result jsonb,
    created_at timestamptz NOT NULL,
    done_at timestamptz
);
CREATE INDEX intents_waiting ON intents (created_at, id) WHERE state = 'waiting';

-- How far each source has been read, and what is wrong with it.
CREATE TABLE source_state (
    name text PRIMARY KEY,
    revision text,
    body jsonb NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Any row freezes a program's invites; cohort '' is all of its cohorts.
CREATE TABLE freezes (
    program text NOT NULL,
    cohort text NOT NULL DEFAULT '',
    holder text NOT NULL,
    reason text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (program, cohort, holder)
);
