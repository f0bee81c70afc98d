-- Each message of an invite, one row a generation, written when the sender takes it up and before it leaves.
--
-- sending: in the sender's hands; left so by one that died, nobody knows whether it went out: uncertain, until a person resends the
-- invite. waiting: the mail server said later. cancelled: the invite was used, revoked or expired before it could be sent again.
CREATE TABLE invite_mails (
    invite_id uuid NOT NULL,
    generation bigint NOT NULL,
    program text NOT NULL,
    cohort text NOT NULL,
    state text NOT NULL CHECK (state IN ('sending', 'sent', 'waiting', 'uncertain', 'failed', 'bounced', 'unsubscribed', 'cancelled')),
    attempts bigint NOT NULL DEFAULT 1,
    -- What stands before the @ of its Message-ID: by it a bounce finds its invite.
    message_key text NOT NULL UNIQUE,
    claimed_at timestamptz NOT NULL,
    claimed_by text NOT NULL,
    next_at timestamptz,
    settled_at timestamptz,
    last_error text,
    PRIMARY KEY (invite_id, generation)
);
CREATE INDEX invite_mails_waiting ON invite_mails (program, next_at) WHERE state = 'waiting';
CREATE INDEX invite_mails_sending ON invite_mails (program) WHERE state = 'sending';
CREATE INDEX invite_mails_paced ON invite_mails (program, claimed_at);
CREATE INDEX invite_mails_counted ON invite_mails (program, cohort, state);

-- Addresses that get no invite mail, as keyed hashes. An empty program: in none, because the address does not exist.
CREATE TABLE mail_blocks (
    program text NOT NULL,
    address_key bytea NOT NULL,
    reason text NOT NULL CHECK (reason IN ('bounced', 'complaint', 'unsubscribed')),
    since timestamptz NOT NULL,
    PRIMARY KEY (program, address_key)
);

-- Why a program's invites wait just now (an empty cohort: all of them), and when the sender tries again.
CREATE TABLE mail_pauses (
    program text NOT NULL,
    cohort text NOT NULL,
    reason text NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz,
    PRIMARY KEY (program, cohort)
);
