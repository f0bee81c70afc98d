-- Each message of an invite, one row a generation, written when the sender takes it up and before it leaves.
--
-- sending: in the sender's hands; left so by one that died, nobody knows whether it went out: uncertain, until a person resends the
-- invite. waiting: the mail server said later. cancelled: the invite was used, revoked or expired before it could be sent again.
CREATE TABLE invite_mails (
    invite_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    program TEXT NOT NULL,
    cohort TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('sending', 'sent', 'waiting', 'uncertain', 'failed', 'bounced', 'unsubscribed', 'cancelled')),
    attempts INTEGER NOT NULL DEFAULT 1,
    -- What stands before the @ of its Message-ID: by it a bounce finds its invite.
    message_key TEXT NOT NULL UNIQUE,
    claimed_at INTEGER NOT NULL,
    claimed_by TEXT NOT NULL,
    next_at INTEGER,
    settled_at INTEGER,
    last_error TEXT,
    PRIMARY KEY (invite_id, generation)
) STRICT;
CREATE INDEX invite_mails_waiting ON invite_mails (program, next_at) WHERE state = 'waiting';
CREATE INDEX invite_mails_sending ON invite_mails (program) WHERE state = 'sending';
CREATE INDEX invite_mails_paced ON invite_mails (program, claimed_at);
CREATE INDEX invite_mails_counted ON invite_mails (program, cohort, state);

-- Addresses that get no invite mail, as keyed hashes. An empty program: in none, because the address does not exist.
CREATE TABLE mail_blocks (
    program TEXT NOT NULL,
    address_key BLOB NOT NULL,
    reason TEXT NOT NULL CHECK (reason IN ('bounced', 'complaint', 'unsubscribed')),
    since INTEGER NOT NULL,
    PRIMARY KEY (program, address_key)
) STRICT;

-- Why a program's invites wait just now (an empty cohort: all of them), and when the sender tries again.
CREATE TABLE mail_pauses (
    program TEXT NOT NULL,
    cohort TEXT NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER,
    PRIMARY KEY (program, cohort)
) STRICT;
