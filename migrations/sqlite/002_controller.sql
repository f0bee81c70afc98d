-- Who leads, and how often the lead has changed: every writing transaction of the controller reads the epoch.
CREATE TABLE leadership (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL,
    holder TEXT NOT NULL,
    renewed_at INTEGER NOT NULL
) STRICT;
INSERT INTO leadership (id, epoch, holder, renewed_at) VALUES (1, 0, '', 0);

-- What `decide` remembers from one pass to the next.
CREATE TABLE memory (
    program TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (program, kind, name)
) STRICT;

-- What would be a resource's status on Kubernetes.
CREATE TABLE resource_status (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    program TEXT NOT NULL,
    status TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;

-- The last accepted document of a resource, which goes on while a newer one is invalid.
CREATE TABLE last_good (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    program TEXT NOT NULL,
    revision TEXT NOT NULL,
    body TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;

-- Changes asked for over HTTP, carried out by the controller where the resource lives.
CREATE TABLE intents (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'refused')),
    result TEXT,
    created_at INTEGER NOT NULL,
    done_at INTEGER
) STRICT;
CREATE INDEX intents_waiting ON intents (created_at, id) WHERE state = 'waiting';

-- How far each source has been read, and what is wrong with it.
CREATE TABLE source_state (
    name TEXT PRIMARY KEY,
    revision TEXT,
    body TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- Any row freezes a program's invites; cohort '' is all of its cohorts.
CREATE TABLE freezes (
    program TEXT NOT NULL,
    cohort TEXT NOT NULL DEFAULT '',
    holder TEXT NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (program, cohort, holder)
) STRICT;
