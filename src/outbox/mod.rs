//! What leaves: mail, chat, webhooks; one file each, with receipts.
//!
//! Must not know: why a message is sent.
