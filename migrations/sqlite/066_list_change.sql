-- The digest of the change by which a cohort's list came in: whoever acknowledged that change has acknowledged this list.
ALTER TABLE cohort_state ADD COLUMN list_change TEXT;
