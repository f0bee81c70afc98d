-- What a workload was made of, one row a revision: what to go back to, also after this machine was started anew. Settings that are
-- secrets are named here, never kept.
CREATE TABLE workload_revisions (
    workload text NOT NULL,
    revision text NOT NULL,
    program text NOT NULL,
    spec jsonb NOT NULL,
    wanted_at timestamptz NOT NULL,
    -- When it was seen to stay up; null while it never did.
    proven_at timestamptz,
    PRIMARY KEY (workload, revision)
);
