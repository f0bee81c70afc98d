-- Lines that are stopped: no stage opens until somebody lets it go on.
CREATE TABLE stops (
    -- Empty: every program's.
    program text PRIMARY KEY,
    reason text NOT NULL,
    by_person text NOT NULL,
    since timestamptz NOT NULL
);
