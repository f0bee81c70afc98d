-- Which keys this database was written with, by their ids, which tell nothing of the keys: with others, codes that are out would not work.
CREATE TABLE key_ids (
    name text PRIMARY KEY,
    id text NOT NULL,
    first_used_at timestamptz NOT NULL
);
