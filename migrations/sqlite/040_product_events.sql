-- Product events and the rollups that the KPIs of seed 002, section 2 are counted from.
-- `day` is days since 1970-01-01 in the program's zone, computed at ingest: civil time never enters SQL.

-- What a person or a staff member did, once by (program, id).
CREATE TABLE product_events (
    program TEXT NOT NULL,
    id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    gym_id TEXT,
    kind TEXT NOT NULL,
    day INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (program, id)
) STRICT;
CREATE INDEX product_events_by_person ON product_events (program, user_id, occurred_at);

-- One row a person, gym ('' is none) and day. `active` counts what the person did (every kind but sync_job, chain_day
-- and staff_active), `staff` the staff_active events.
CREATE TABLE person_days (
    program TEXT NOT NULL,
    user_id TEXT NOT NULL,
    gym_id TEXT NOT NULL,
    day INTEGER NOT NULL,
    active INTEGER NOT NULL,
    logs INTEGER NOT NULL,
    reactions INTEGER NOT NULL,
    comments INTEGER NOT NULL,
    booking_attempts INTEGER NOT NULL,
    bookings INTEGER NOT NULL,
    waitlists INTEGER NOT NULL,
    checkins INTEGER NOT NULL,
    chain_days INTEGER NOT NULL,
    staff INTEGER NOT NULL,
    PRIMARY KEY (program, user_id, gym_id, day)
) STRICT;
CREATE INDEX person_days_by_day ON person_days (program, day);

-- Sync jobs of connected users; `unconnected` counts the jobs that are left out of the KPI.
CREATE TABLE sync_days (
    program TEXT NOT NULL,
    user_id TEXT NOT NULL,
    day INTEGER NOT NULL,
    ok INTEGER NOT NULL,
    total INTEGER NOT NULL,
    unconnected INTEGER NOT NULL,
    PRIMARY KEY (program, user_id, day)
) STRICT;
CREATE INDEX sync_days_by_day ON sync_days (program, day);

-- The roster: who works at which gym, since and until which day (the last one excluded).
-- `cohort` is the cohort the gym belongs to, '' when it belongs to all.
CREATE TABLE gym_staff (
    program TEXT NOT NULL,
    gym_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    cohort TEXT NOT NULL,
    since_day INTEGER NOT NULL,
    until_day INTEGER,
    PRIMARY KEY (program, gym_id, user_id)
) STRICT;

-- The calendar as data: when each day of a program begins. Kept by ingest, well ahead of the newest event.
CREATE TABLE program_days (
    program TEXT NOT NULL,
    day INTEGER NOT NULL,
    starts_at INTEGER NOT NULL,
    PRIMARY KEY (program, day)
) STRICT;
CREATE UNIQUE INDEX program_days_by_start ON program_days (program, starts_at);

-- The first day of each program, once it is known.
CREATE TABLE program_calendar (
    program TEXT PRIMARY KEY,
    first_day INTEGER
) STRICT;
