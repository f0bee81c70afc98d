-- One row for each person invited to a cohort. The name and `used_at` are seed 004's; its checks run on this table.
--
-- States: waiting (over capacity), pending, sent, opened, used; expired, revoked. A row that a list holds has a
-- row_digest: 16 bytes of the person's, 16 of the row's. An erased person's row stays, blank, under `erased:ID`.
CREATE TABLE beta_invites (
    id uuid PRIMARY KEY,
    program text NOT NULL,
    cohort text NOT NULL,
    email text,
    email_norm text NOT NULL,
    label text NOT NULL DEFAULT '',
    role text NOT NULL DEFAULT '',
    invited_by text NOT NULL DEFAULT '',
    locale text NOT NULL DEFAULT '',
    note text NOT NULL DEFAULT '',
    state text NOT NULL CHECK (state IN ('waiting', 'pending', 'sent', 'opened', 'used', 'expired', 'revoked')),
    code_digest text,
    generation bigint NOT NULL DEFAULT 1,
    -- The generation from which the code is made: a message that is sent again on request carries the same one while that is good.
    code_generation bigint NOT NULL DEFAULT 1,
    position bigint NOT NULL,
    source text NOT NULL CHECK (source IN ('list', 'resource', 'admin', 'code')),
    -- The code for several people with which the person came in, if it was one: see invite_codes.
    shared_code uuid,
    row_digest bytea,
    created_at timestamptz NOT NULL,
    rendered_at timestamptz,
    sent_at timestamptz,
    opened_at timestamptz,
    used_at timestamptz,
    used_by uuid,
    expires_at timestamptz,
    revoked_at timestamptz,
    revoke_reason text,
    -- The generation whose message was taken up by the sender last; 0: none. See invite_mails.
    mail_generation bigint NOT NULL DEFAULT 0
);
-- By address first: it also answers which invites a person has.
CREATE UNIQUE INDEX beta_invites_person ON beta_invites (email_norm, program, cohort);
CREATE UNIQUE INDEX beta_invites_code ON beta_invites (code_digest) WHERE code_digest IS NOT NULL;
-- What is still to be let in, and to be sent, in order. Who is known by a keyed hash only is sent nothing.
CREATE INDEX beta_invites_queue ON beta_invites (program, cohort, state, position)
    WHERE state IN ('waiting', 'pending') AND rendered_at IS NULL AND (state = 'waiting' OR email IS NOT NULL);
-- Whose message has not been taken up yet, in order.
CREATE INDEX beta_invites_unmailed ON beta_invites (program, cohort, position)
    WHERE state = 'pending' AND mail_generation < generation AND email IS NOT NULL;
CREATE INDEX beta_invites_expiring ON beta_invites (expires_at)
    WHERE expires_at IS NOT NULL AND state IN ('pending', 'sent', 'opened');
CREATE INDEX beta_invites_used_by ON beta_invites (used_by) WHERE used_by IS NOT NULL;
-- A cohort's invites, for its funnel: of two columns only, so that within a cohort they lie in the order in which they were written.
CREATE INDEX beta_invites_by_cohort ON beta_invites (program, cohort);
