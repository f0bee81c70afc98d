-- Reference rows of the tester application (seed 003): movements as they are served, as their file has them, and what was done to each.
CREATE TABLE movement_library (
    movement_id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    category TEXT NOT NULL,
    modalities TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('draft', 'published')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE movement_staging (
    movement_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    modalities TEXT NOT NULL,
    dataset TEXT NOT NULL,
    digest TEXT NOT NULL,
    staged_at INTEGER NOT NULL
) STRICT;

CREATE TABLE movement_audit_log (
    id TEXT PRIMARY KEY,
    movement_id TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('imported', 'published', 'updated', 'removed')),
    dataset TEXT NOT NULL,
    actor TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX movement_audit_log_of ON movement_audit_log (movement_id, at);

-- What stood in the tables of a dataset before something took it away or changed it. `put_back` says whether an undo puts it back by itself: a dump that was
-- taken of what is being undone is kept, and is no good state.
CREATE TABLE dataset_dumps (
    id TEXT PRIMARY KEY,
    table_name TEXT NOT NULL,
    program TEXT NOT NULL,
    dataset TEXT NOT NULL,
    taken_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    put_back INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX dataset_dumps_newest ON dataset_dumps (table_name, taken_at);
