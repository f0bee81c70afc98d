-- What a workload was made of, one row a revision: what to go back to, also after this machine was started anew. Settings that are
-- secrets are named here, never kept.
CREATE TABLE workload_revisions (
    workload TEXT NOT NULL,
    revision TEXT NOT NULL,
    program TEXT NOT NULL,
    spec TEXT NOT NULL,
    wanted_at INTEGER NOT NULL,
    -- When it was seen to stay up; null while it never did.
    proven_at INTEGER,
    PRIMARY KEY (workload, revision)
) STRICT;
