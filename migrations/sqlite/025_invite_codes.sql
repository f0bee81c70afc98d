-- Codes that let several people into a cohort, one after the other (a booth, a talk). The code itself is not kept: it is made again from the
-- invite key and the id. Whoever comes in with one gets a row of their own in beta_invites, which names it in shared_code.
CREATE TABLE invite_codes (
    id TEXT PRIMARY KEY,
    program TEXT NOT NULL,
    cohort TEXT NOT NULL,
    label TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL DEFAULT '',
    uses INTEGER NOT NULL CHECK (uses > 0),
    used INTEGER NOT NULL DEFAULT 0 CHECK (used >= 0 AND used <= uses),
    code_digest TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    revoke_reason TEXT
) STRICT;
CREATE INDEX invite_codes_by_cohort ON invite_codes (program, cohort, id);
