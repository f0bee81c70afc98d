-- Files that the documents of a cluster name and that lie in Git: a controller that can't reach Git knows at least which there are. Their text is kept
-- only where it is about nobody (templates); lists of people stay where they are.
CREATE TABLE brought_files (
    path text PRIMARY KEY,
    size bigint NOT NULL,
    digest text NOT NULL,
    body text
);
