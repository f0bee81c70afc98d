-- The generation from which an invite's code is made: a message that is sent again on request carries the same code while that is good.
ALTER TABLE beta_invites ADD COLUMN code_generation INTEGER NOT NULL DEFAULT 1;
UPDATE beta_invites SET code_generation = generation;
