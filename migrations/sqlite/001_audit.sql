-- Entries are written in the transaction they describe and linked afterwards, in batches: `link` is the place in the
-- chain, given in the order entries became visible, since sequence order is not commit order.
CREATE TABLE audit_log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    program TEXT NOT NULL DEFAULT '',
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL,
    link INTEGER UNIQUE,
    prev_hash BLOB,
    hash BLOB,
    CHECK ((link IS NULL) = (hash IS NULL) AND (link IS NULL) = (prev_hash IS NULL))
) STRICT;
CREATE INDEX audit_log_unlinked ON audit_log (seq) WHERE link IS NULL;
CREATE INDEX audit_log_by_program ON audit_log (program, seq);
CREATE INDEX audit_log_by_object ON audit_log (object, seq);

-- The end of the chain, so that entries cut off its end are missed.
CREATE TABLE audit_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    link INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_head (id, link, hash) VALUES (1, 0, zeroblob(32));

-- What SQL can see of the chain: places missing, and entries that do not name the one before. `betagate audit verify`
-- also recomputes every hash.
CREATE VIEW audit_log_integrity_summary AS
WITH linked AS (
    SELECT link, prev_hash, lag(hash) OVER (ORDER BY link) AS before FROM audit_log WHERE link IS NOT NULL
), figures AS (
    SELECT
        (SELECT count(*) FROM audit_log) AS entries,
        (SELECT count(*) FROM linked) AS chained,
        (SELECT link FROM audit_head) - (SELECT count(*) FROM linked) AS missing,
        (SELECT count(*) FROM linked WHERE before IS NOT NULL AND before <> prev_hash) AS broken,
        (SELECT count(*) FROM audit_head h JOIN audit_log e ON e.link = h.link AND e.hash = h.hash)
            + (SELECT count(*) FROM audit_head WHERE link = 0) AS head_found,
        (SELECT max(at) FROM audit_log) AS last_at
)
SELECT entries, chained, entries - chained AS waiting, missing, broken, last_at,
    missing = 0 AND broken = 0 AND head_found = 1 AS intact
FROM figures;
