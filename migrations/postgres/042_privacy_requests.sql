-- Requests of people about their data, and the compliance queue (seed 002, sections 1, 4 and 5).

CREATE TABLE privacy_requests (
    program text NOT NULL,
    id uuid NOT NULL PRIMARY KEY,
    user_id uuid,
    contact text,
    cohort text NOT NULL,
    gym_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('export', 'erase')),
    state text NOT NULL CHECK (state IN ('submitted', 'triaged', 'fulfilled', 'rejected')),
    note text NOT NULL,
    submitted_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    triaged_at timestamptz,
    triaged_by text,
    closed_at timestamptz,
    closed_by text,
    reason text,
    result jsonb
);
-- A person has at most one open request of a kind.
CREATE UNIQUE INDEX privacy_requests_open ON privacy_requests (program, user_id, kind)
    WHERE user_id IS NOT NULL AND state IN ('submitted', 'triaged');
CREATE INDEX privacy_requests_by_due ON privacy_requests (program, state, due_at);

-- The queue as the compliance people read it: what is open, most urgent first by due_at. No contact.
-- The badge (ok, due-soon, breached) depends on the time of reading, so the reader adds it (src/store/privacy.rs).
CREATE VIEW compliance_queue AS
SELECT program, id, user_id, cohort, gym_id, kind, state, submitted_at, due_at, triaged_at, triaged_by
FROM privacy_requests WHERE state IN ('submitted', 'triaged');

-- For `sql` checks: every request, without the people.
CREATE VIEW checks_privacy_requests AS
SELECT program, cohort, gym_id, kind, state, submitted_at, due_at, triaged_at, closed_at FROM privacy_requests;
