-- Files that the documents of a cluster name and that lie in Git: a controller that can't reach Git knows at least which there are. Their text is kept
-- only where it is about nobody (templates); lists of people stay where they are.
CREATE TABLE brought_files (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    digest TEXT NOT NULL,
    body TEXT
) STRICT;
