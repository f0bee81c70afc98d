-- Who carries a repeated request out: whoever takes it over from a process that died has another claim. While it is carried out its status is 0, and 1
-- from the first transaction on that it commits.
ALTER TABLE idempotency_keys ADD COLUMN claim TEXT;
