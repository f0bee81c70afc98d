-- What the controller has made of a cohort: whether people may come in, how many, and which list its rows are from.
CREATE TABLE cohort_state (
    program TEXT NOT NULL,
    cohort TEXT NOT NULL,
    open INTEGER NOT NULL DEFAULT 0,
    capacity INTEGER,
    ignore_dots INTEGER NOT NULL DEFAULT 0,
    ignore_plus INTEGER NOT NULL DEFAULT 0,
    list_digest TEXT,
    list_buckets BLOB,
    rows INTEGER NOT NULL DEFAULT 0,
    next_position INTEGER NOT NULL DEFAULT 1,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (program, cohort)
) STRICT;

CREATE TABLE cohort_members (
    program TEXT NOT NULL,
    cohort TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    email_norm TEXT NOT NULL,
    joined_at INTEGER NOT NULL,
    PRIMARY KEY (program, cohort, user_id)
) STRICT;
CREATE INDEX cohort_members_by_user ON cohort_members (user_id);
