-- Until when an exchanged refresh token would have been good: after that it would have run out anyway, nobody has to remember it. Older rows go with their sessions.
ALTER TABLE spent_refresh_tokens ADD COLUMN spent_until INTEGER;
CREATE INDEX spent_refresh_tokens_by_age ON spent_refresh_tokens (spent_until);
