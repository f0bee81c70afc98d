-- Which keys this database was written with, by their ids, which tell nothing of the keys: with others, codes that are out would not work.
CREATE TABLE key_ids (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    first_used_at INTEGER NOT NULL
) STRICT;
