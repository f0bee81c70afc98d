-- A cohort whose document is gone, and whose unused invites were taken back for that. It comes back with its document.
ALTER TABLE cohort_state ADD COLUMN gone_at timestamptz;
