-- People who are in. An address is kept as it was given and as it is compared; erasing a person blanks both.
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    email_norm TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    is_admin INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    erased_at INTEGER
) STRICT;

-- A session is known by the digests of its two tokens.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    access_digest BLOB NOT NULL UNIQUE,
    refresh_digest BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    access_expires_at INTEGER NOT NULL,
    refresh_expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_age ON sessions (refresh_expires_at);

-- Refresh tokens that were exchanged: one of them coming back means that it was stolen.
CREATE TABLE spent_refresh_tokens (
    digest BLOB PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX spent_refresh_tokens_by_session ON spent_refresh_tokens (session_id);

-- People who were erased, as keyed hashes of their addresses: a list can't bring them back.
CREATE TABLE suppressions (
    address_key BLOB PRIMARY KEY,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
