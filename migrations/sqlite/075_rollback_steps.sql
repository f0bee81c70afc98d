-- Any row pauses the taking in of a program's product events.
CREATE TABLE ingestion_pauses (
    program TEXT NOT NULL,
    holder TEXT NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (program, holder)
) STRICT;

-- What rollback steps did to the database once and for all: written in the transaction that does it, so that it is never done twice.
CREATE TABLE step_effects (
    program TEXT NOT NULL,
    effect_key TEXT NOT NULL,
    done_at INTEGER NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (program, effect_key)
) STRICT;

-- Rollback plans that were gone through as a drill.
CREATE TABLE rehearsals (
    id TEXT PRIMARY KEY,
    program TEXT NOT NULL,
    plan TEXT NOT NULL,
    environment TEXT NOT NULL,
    at INTEGER NOT NULL,
    by_person TEXT NOT NULL,
    passed INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX rehearsals_newest ON rehearsals (program, plan, at);
