-- Documents that came one by one (from a cluster) and were accepted: what goes on when a newer one is refused.
CREATE TABLE accepted_documents (
    path TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    accepted_at INTEGER NOT NULL
) STRICT;
