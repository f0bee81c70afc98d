-- Documents that came one by one (from a cluster) and were accepted: what goes on when a newer one is refused.
CREATE TABLE accepted_documents (
    path text PRIMARY KEY,
    body text NOT NULL,
    accepted_at timestamptz NOT NULL
);
