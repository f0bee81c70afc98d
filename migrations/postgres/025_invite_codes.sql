-- Codes that let several people into a cohort, one after the other (a booth, a talk). The code itself is not kept: it is made again from the
-- invite key and the id. Whoever comes in with one gets a row of their own in beta_invites, which names it in shared_code.
CREATE TABLE invite_codes (
    id uuid PRIMARY KEY,
    program text NOT NULL,
    cohort text NOT NULL,
    label text NOT NULL DEFAULT '',
    note text NOT NULL DEFAULT '',
    uses bigint NOT NULL CHECK (uses > 0),
    used bigint NOT NULL DEFAULT 0 CHECK (used >= 0 AND used <= uses),
    code_digest text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoke_reason text
);
CREATE INDEX invite_codes_by_cohort ON invite_codes (program, cohort, id);
