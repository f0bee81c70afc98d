-- Requests of people about their data, and the compliance queue (seed 002, sections 1, 4 and 5).

CREATE TABLE privacy_requests (
    program TEXT NOT NULL,
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT,
    contact TEXT,
    cohort TEXT NOT NULL,
    gym_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('export', 'erase')),
    state TEXT NOT NULL CHECK (state IN ('submitted', 'triaged', 'fulfilled', 'rejected')),
    note TEXT NOT NULL,
    submitted_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    triaged_at INTEGER,
    triaged_by TEXT,
    closed_at INTEGER,
    closed_by TEXT,
    reason TEXT,
    result TEXT
) STRICT;
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
