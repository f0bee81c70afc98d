-- Lines that are stopped: no stage opens until somebody lets it go on.
CREATE TABLE stops (
    -- Empty: every program's.
    program TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    by_person TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT;
