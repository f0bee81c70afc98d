-- What alerting systems told of an incident, each under its own key there (an alert's fingerprint, an incident's id).
CREATE TABLE incident_feeds (
    program text NOT NULL,
    source text NOT NULL,
    key text NOT NULL,
    -- The incident that it is now; an alert that fires again after a while is another one.
    incident text NOT NULL,
    -- The moment of the newest thing that was told: what comes late and is older changes nothing.
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (program, source, key)
);
