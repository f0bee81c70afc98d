-- Messages are looked for by how their keys begin (a run's, a step's): bytewise, whatever language the database sorts in.
CREATE INDEX outbox_by_key ON outbox (effect_key COLLATE "C");
