-- What the controller has made of a cohort: whether people may come in, how many, and which list its rows are from.
CREATE TABLE cohort_state (
    program text NOT NULL,
    cohort text NOT NULL,
    open boolean NOT NULL DEFAULT false,
    capacity bigint,
    ignore_dots boolean NOT NULL DEFAULT false,
    ignore_plus boolean NOT NULL DEFAULT false,
    list_digest text,
    list_buckets bytea,
    rows bigint NOT NULL DEFAULT 0,
    next_position bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (program, cohort)
);

CREATE TABLE cohort_members (
    program text NOT NULL,
    cohort text NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id),
    email_norm text NOT NULL,
    joined_at timestamptz NOT NULL,
    PRIMARY KEY (program, cohort, user_id)
);
CREATE INDEX cohort_members_by_user ON cohort_members (user_id);
