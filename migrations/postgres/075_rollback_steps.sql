-- Any row pauses the taking in of a program's product events.
CREATE TABLE ingestion_pauses (
    program text NOT NULL,
    holder text NOT NULL,
    reason text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (program, holder)
);

-- What rollback steps did to the database once and for all: written in the transaction that does it, so that it is never done twice.
CREATE TABLE step_effects (
    program text NOT NULL,
    effect_key text NOT NULL,
    done_at timestamptz NOT NULL,
    detail jsonb NOT NULL,
    PRIMARY KEY (program, effect_key)
);

-- Rollback plans that were gone through as a drill.
CREATE TABLE rehearsals (
    id uuid PRIMARY KEY,
    program text NOT NULL,
    plan text NOT NULL,
    environment text NOT NULL,
    at timestamptz NOT NULL,
    by_person text NOT NULL,
    passed boolean NOT NULL,
    body jsonb NOT NULL
);
CREATE INDEX rehearsals_newest ON rehearsals (program, plan, at);
