-- People who are in. An address is kept as it was given and as it is compared; erasing a person blanks both.
CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    email_norm text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    is_admin boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    erased_at timestamptz
);

-- A session is known by the digests of its two tokens.
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    access_digest bytea NOT NULL UNIQUE,
    refresh_digest bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    access_expires_at timestamptz NOT NULL,
    refresh_expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_age ON sessions (refresh_expires_at);

-- Refresh tokens that were exchanged: one of them coming back means that it was stolen.
CREATE TABLE spent_refresh_tokens (
    digest bytea PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE
);
CREATE INDEX spent_refresh_tokens_by_session ON spent_refresh_tokens (session_id);

-- People who were erased, as keyed hashes of their addresses: a list can't bring them back.
CREATE TABLE suppressions (
    address_key bytea PRIMARY KEY,
    reason text NOT NULL,
    created_at timestamptz NOT NULL
);
