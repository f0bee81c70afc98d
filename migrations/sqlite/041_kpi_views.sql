-- The eight KPIs of seed 002, section 2, as views, for `sql` checks and for people. Read them by week:
--   SELECT numerator, denominator FROM checks_feed_interactions_per_active_user WHERE program = 'p' AND cohort = 'c' AND week = 1
-- A gate's `kpi` check counts the same things over a window of days (src/store/kpi.rs). A ratio stays its two counts.
--
-- What the words mean (seed 002 gives the ratios, its sections 2 and 3 and its timeline imply the rest):
--   active user     a member of the cohort with at least one event of his own in the period: workout_logged, reaction, comment,
--                   booking_attempted, booking_made, waitlist_joined, check_in, app_opened. What machines or the house report
--                   of him (sync_job, chain_day) and staff work (staff_active) do not make him active.
--   week            seven days from the first day of the program, numbered from 0. A first day not set reads as a Monday.
--   a person's week counted from the week in which he joined: whoever joins in program week k is then in his week 0. So a cohort
--                   that joins later has weeks of its own. Joined before the first day: week 0 of the program.
--   week 0, week 4  the week of joining (for the first cohort, days 0 to 6 of the program) and the one four weeks later (28 to 34).
--   week 2          the second week (days 7 to 13): the first gate review, on day 11, must be able to read it.
--   chain           consecutive days, each with a workout_logged or a chain_day (the product's word that the chain was kept).
--                   A user maintains a chain of 7 days or more in a period when it stands at 7 or more on one of its days.
--   connected user  whoever had a working connection when the job ran. sync_job says so (`connected`, true when left out).
--   staff           the people on the roster of a gym (gym_staff). Active: any event of theirs, staff_active included, at that gym.
--   Sev-1           an incident of severity sev-1 counts in each week in which it was open.

CREATE VIEW checks_members AS
-- Members with the day on which they joined and its program week (seven days from the first day of the program, numbered from
-- 0, a first day not set reads as a Monday).
SELECT m.program, m.cohort, m.user_id, m.joined_day, c.first_day,
    CASE WHEN m.joined_day > c.first_day THEN (m.joined_day - c.first_day) / 7 ELSE 0 END AS joined_week
FROM (
    SELECT program, cohort, user_id,
        (SELECT d.day FROM program_days d WHERE d.program = cohort_members.program AND d.starts_at <= cohort_members.joined_at
         ORDER BY d.starts_at DESC LIMIT 1) AS joined_day
    FROM cohort_members
) m
JOIN (SELECT program, COALESCE(first_day, 4) AS first_day FROM program_calendar) c ON c.program = m.program;

CREATE VIEW checks_member_weeks AS
-- What each member did in each program week.
SELECT m.program, m.cohort, m.user_id, m.first_day, m.joined_week, (d.day - m.first_day) / 7 AS week,
    CAST(SUM(d.active) AS bigint) AS active, CAST(SUM(d.logs) AS bigint) AS logs,
    CAST(SUM(d.reactions + d.comments) AS bigint) AS interactions,
    CAST(SUM(d.booking_attempts) AS bigint) AS booking_attempts, CAST(SUM(d.bookings) AS bigint) AS bookings
FROM checks_members m
JOIN person_days d ON d.program = m.program AND d.user_id = m.user_id AND d.day >= m.first_day
GROUP BY m.program, m.cohort, m.user_id, m.first_day, m.joined_week, (d.day - m.first_day) / 7;

CREATE VIEW checks_chains AS
-- Each day on which a person's chain stands, with its length on that day.
SELECT program, user_id, day, day - MIN(day) OVER (PARTITION BY program, user_id, island) + 1 AS length
FROM (
    SELECT program, user_id, day, day - ROW_NUMBER() OVER (PARTITION BY program, user_id ORDER BY day) AS island
    FROM (SELECT DISTINCT program, user_id, day FROM person_days WHERE logs > 0 OR chain_days > 0) kept
) islands;

CREATE VIEW checks_weeks AS
-- The program weeks in which anything was heard.
SELECT c.program, (d.day - c.first_day) / 7 AS week, c.first_day + 7 * ((d.day - c.first_day) / 7) AS from_day,
    c.first_day + 7 * ((d.day - c.first_day) / 7) + 6 AS to_day
FROM (SELECT program, COALESCE(first_day, 4) AS first_day FROM program_calendar) c
JOIN (SELECT program, day FROM person_days UNION SELECT program, day FROM sync_days) d
    ON d.program = c.program AND d.day >= c.first_day
GROUP BY c.program, c.first_day, (d.day - c.first_day) / 7;

CREATE VIEW checks_workout_repeat_rate_w2 AS
-- Seed 002, section 2: users with 2+ logs / active users, in week 2, which is each one's second week (days 7 to 13 for those
-- who joined in program week 0), because the first gate review on day 11 must be able to read it. Active user: a member with
-- at least one event of his own (workout_logged, reaction, comment, booking_attempted, booking_made, waitlist_joined,
-- check_in, app_opened).
SELECT program, cohort, week, first_day + 7 * week AS from_day, first_day + 7 * week + 6 AS to_day,
    CAST(SUM(CASE WHEN logs >= 2 THEN 1 ELSE 0 END) AS bigint) AS numerator, COUNT(*) AS denominator
FROM checks_member_weeks WHERE active > 0 AND week = joined_week + 1
GROUP BY program, cohort, first_day, week;

CREATE VIEW checks_feed_interactions_per_active_user AS
-- Seed 002, section 2: reactions + comments / active users of the week. Active user: a member with at least one event of his
-- own.
SELECT program, cohort, week, first_day + 7 * week AS from_day, first_day + 7 * week + 6 AS to_day,
    CAST(SUM(interactions) AS bigint) AS numerator, COUNT(*) AS denominator
FROM checks_member_weeks WHERE active > 0
GROUP BY program, cohort, first_day, week;

CREATE VIEW checks_class_booking_completion AS
-- Seed 002, section 2: successful bookings (booking_made) / booking attempts (booking_attempted) of the week.
SELECT program, cohort, week, first_day + 7 * week AS from_day, first_day + 7 * week + 6 AS to_day,
    CAST(SUM(bookings) AS bigint) AS numerator, CAST(SUM(booking_attempts) AS bigint) AS denominator
FROM checks_member_weeks
GROUP BY program, cohort, first_day, week;

CREATE VIEW checks_retention_w4 AS
-- Seed 002, section 2: users active in week 4 / users active in week 0, of the latter. Week 0 is the program week in which a
-- person joined, week 4 the one four weeks later (days 28 to 34 for week 0). Read it when that week is over.
SELECT z.program, z.cohort, z.week + 4 AS week, z.first_day + 7 * (z.week + 4) AS from_day,
    z.first_day + 7 * (z.week + 4) + 6 AS to_day,
    CAST(SUM(CASE WHEN f.active > 0 THEN 1 ELSE 0 END) AS bigint) AS numerator, COUNT(*) AS denominator
FROM checks_member_weeks z
LEFT JOIN checks_member_weeks f
    ON f.program = z.program AND f.cohort = z.cohort AND f.user_id = z.user_id AND f.week = z.week + 4
JOIN (SELECT program, MAX(week) AS week FROM checks_weeks GROUP BY program) heard
    ON heard.program = z.program AND heard.week >= z.week + 4
WHERE z.active > 0 AND z.week = z.joined_week
GROUP BY z.program, z.cohort, z.first_day, z.week;

CREATE VIEW checks_chain_survival_rate AS
-- Seed 002, section 2: users maintaining a chain of 7 days or more / active users. Chain: consecutive days, each with a
-- workout_logged or a chain_day. Maintained when it stands at 7 or more on a day of the week.
SELECT w.program, w.cohort, w.week, w.first_day + 7 * w.week AS from_day, w.first_day + 7 * w.week + 6 AS to_day,
    CAST(SUM(CASE WHEN c.user_id IS NOT NULL THEN 1 ELSE 0 END) AS bigint) AS numerator, COUNT(*) AS denominator
FROM checks_member_weeks w
LEFT JOIN (
    SELECT DISTINCT c.program, c.user_id, (c.day - m.first_day) / 7 AS week
    FROM checks_chains c
    JOIN (SELECT program, COALESCE(first_day, 4) AS first_day FROM program_calendar) m ON m.program = c.program
    WHERE c.length >= 7 AND c.day >= m.first_day
) c ON c.program = w.program AND c.user_id = w.user_id AND c.week = w.week
WHERE w.active > 0
GROUP BY w.program, w.cohort, w.first_day, w.week;

CREATE VIEW checks_gym_weekly_active_staff_rate AS
-- Seed 002, section 2: staff active in the week / total staff at its end. Staff: the roster gym_staff. Active: any event of
-- theirs at that gym, staff_active included.
SELECT program, cohort, week, from_day, to_day, CAST(SUM(active) AS bigint) AS numerator, COUNT(*) AS denominator
FROM (
    SELECT s.program, s.cohort, w.week, w.from_day, w.to_day, s.user_id,
        MAX(CASE WHEN EXISTS (
            SELECT 1 FROM person_days d WHERE d.program = s.program AND d.user_id = s.user_id AND d.gym_id = s.gym_id
                AND d.day BETWEEN w.from_day AND w.to_day AND (d.staff > 0 OR d.active > 0)
        ) THEN 1 ELSE 0 END) AS active
    FROM gym_staff s
    JOIN checks_weeks w ON w.program = s.program
    WHERE s.since_day <= w.to_day AND (s.until_day IS NULL OR s.until_day > w.to_day)
    GROUP BY s.program, s.cohort, w.week, w.from_day, w.to_day, s.user_id
) people
GROUP BY program, cohort, week, from_day, to_day;

CREATE VIEW checks_sync_success_rate AS
-- Seed 002, section 2: successful sync jobs / total sync jobs of connected users. Connected: had a working connection when the
-- job ran, as sync_job says (true when left out).
SELECT m.program, m.cohort, (d.day - m.first_day) / 7 AS week, m.first_day + 7 * ((d.day - m.first_day) / 7) AS from_day,
    m.first_day + 7 * ((d.day - m.first_day) / 7) + 6 AS to_day,
    CAST(SUM(d.ok) AS bigint) AS numerator, CAST(SUM(d.total) AS bigint) AS denominator
FROM checks_members m
JOIN sync_days d ON d.program = m.program AND d.user_id = m.user_id AND d.day >= m.first_day
GROUP BY m.program, m.cohort, m.first_day, (d.day - m.first_day) / 7;

CREATE VIEW checks_sev1_incidents AS
-- Seed 002, section 2: Sev-1 incidents per week, the ones open at any time in it.
SELECT w.program, '' AS cohort, w.week, w.from_day, w.to_day, COUNT(i.name) AS numerator, 1 AS denominator
FROM checks_weeks w
JOIN program_days b ON b.program = w.program AND b.day = w.from_day
JOIN program_days e ON e.program = w.program AND e.day = w.to_day + 1
LEFT JOIN incidents i ON i.program = w.program AND i.severity = 'sev-1' AND i.started_at < e.starts_at
    AND (i.resolved_at IS NULL OR i.resolved_at > b.starts_at OR i.started_at >= b.starts_at)
GROUP BY w.program, w.week, w.from_day, w.to_day;

CREATE VIEW checks_incidents AS
-- Incidents as checks may count them: no titles.
SELECT program, name, severity, category, started_at, acknowledged_at, resolved_at FROM incidents;

CREATE VIEW checks_person_days AS
-- What people did, day by day. user_id is a random id.
SELECT program, user_id, gym_id, day, active, logs, reactions, comments, booking_attempts, bookings, waitlists, checkins,
    chain_days, staff
FROM person_days;
