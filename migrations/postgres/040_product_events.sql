-- Product events and the rollups that the KPIs of seed 002, section 2 are counted from.
-- `day` is days since 1970-01-01 in the program's zone, computed at ingest: civil time never enters SQL.

-- What a person or a staff member did, once by (program, id).
CREATE TABLE product_events (
    program text NOT NULL,
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    gym_id text,
    kind text NOT NULL,
    day bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    data jsonb NOT NULL,
    PRIMARY KEY (program, id)
);
CREATE INDEX product_events_by_person ON product_events (program, user_id, occurred_at);

-- One row a person, gym ('' is none) and day. `active` counts what the person did (every kind but sync_job, chain_day
-- and staff_active), `staff` the staff_active events.
CREATE TABLE person_days (
    program text NOT NULL,
    user_id uuid NOT NULL,
    gym_id text NOT NULL,
    day bigint NOT NULL,
    active bigint NOT NULL,
    logs bigint NOT NULL,
    reactions bigint NOT NULL,
    comments bigint NOT NULL,
    booking_attempts bigint NOT NULL,
    bookings bigint NOT NULL,
    waitlists bigint NOT NULL,
    checkins bigint NOT NULL,
    chain_days bigint NOT NULL,
    staff bigint NOT NULL,
    PRIMARY KEY (program, user_id, gym_id, day)
);
CREATE INDEX person_days_by_day ON person_days (program, day);

-- Sync jobs of connected users; `unconnected` counts the jobs that are left out of the KPI.
CREATE TABLE sync_days (
    program text NOT NULL,
    user_id uuid NOT NULL,
    day bigint NOT NULL,
    ok bigint NOT NULL,
    total bigint NOT NULL,
    unconnected bigint NOT NULL,
    PRIMARY KEY (program, user_id, day)
);
CREATE INDEX sync_days_by_day ON sync_days (program, day);

-- The roster: who works at which gym, since and until which day (the last one excluded).
-- `cohort` is the cohort the gym belongs to, '' when it belongs to all.
CREATE TABLE gym_staff (
    program text NOT NULL,
    gym_id text NOT NULL,
    user_id uuid NOT NULL,
    cohort text NOT NULL,
    since_day bigint NOT NULL,
    until_day bigint,
    PRIMARY KEY (program, gym_id, user_id)
);

-- The calendar as data: when each day of a program begins. Kept by ingest, well ahead of the newest event.
CREATE TABLE program_days (
    program text NOT NULL,
    day bigint NOT NULL,
    starts_at timestamptz NOT NULL,
    PRIMARY KEY (program, day)
);
CREATE UNIQUE INDEX program_days_by_start ON program_days (program, starts_at);

-- The first day of each program, once it is known.
CREATE TABLE program_calendar (
    program text PRIMARY KEY,
    first_day bigint
);
