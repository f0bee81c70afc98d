-- Reference rows of the tester application (seed 003): movements as they are served, as their file has them, and what was done to each.
CREATE TABLE movement_library (
    movement_id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    category text NOT NULL,
    modalities jsonb NOT NULL,
    status text NOT NULL CHECK (status IN ('draft', 'published')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE movement_staging (
    movement_id text PRIMARY KEY,
    name text NOT NULL,
    category text NOT NULL,
    modalities jsonb NOT NULL,
    dataset text NOT NULL,
    digest text NOT NULL,
    staged_at timestamptz NOT NULL
);

CREATE TABLE movement_audit_log (
    id uuid PRIMARY KEY,
    movement_id text NOT NULL,
    action text NOT NULL CHECK (action IN ('imported', 'published', 'updated', 'removed')),
    dataset text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX movement_audit_log_of ON movement_audit_log (movement_id, at);

-- What stood in the tables of a dataset before something took it away or changed it. `put_back` says whether an undo puts it back by itself: a dump that was
-- taken of what is being undone is kept, and is no good state.
CREATE TABLE dataset_dumps (
    id uuid PRIMARY KEY,
    table_name text NOT NULL,
    program text NOT NULL,
    dataset text NOT NULL,
    taken_at timestamptz NOT NULL,
    reason text NOT NULL,
    put_back boolean NOT NULL,
    rows bigint NOT NULL,
    body jsonb NOT NULL
);
CREATE INDEX dataset_dumps_newest ON dataset_dumps (table_name, taken_at);
