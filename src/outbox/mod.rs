//! What leaves: mail, chat, documents; one file each, with receipts.
//!
//! Each delivery takes a plain message and gives a [`Receipt`] or a [`DeliveryError`], which says whether the message surely has not
//! left (it may be tried again), perhaps has (a person decides, or a message that may arrive twice goes again), or never will.
//! The same effect key gives the same Message-ID, file or idempotency key, so that the other side can tell a repetition.
//!
//! Must not know: why a message is sent, or where it is queued.

pub mod call;
mod config_maps;
pub mod documents;
mod files;
pub mod forge;
pub mod mail;
pub mod minutes;
mod smtp;
pub mod template;
pub mod unsubscribe;
pub mod webhook;

use std::time::Duration;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use call::Call;
pub use documents::{CauseDocument, Completeness, Documents};
pub use mail::{Mail, Mailer};
pub use minutes::Minutes;
pub use template::Template;
pub use webhook::{Note, Webhook};

/// Proof that something has left, as far as it can be known here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// By what way: `file`, `smtp`, `command`, `slack`, `discord`, `json`, `document`, `http`.
    pub way: String,
    /// What it can be found by: a Message-ID, a file. Never an address of a webhook, which is a secret.
    pub reference: String,
    /// When.
    pub at: Timestamp,
}

/// Why a message did not leave, or may not have. Reasons name no recipient, no address of a webhook, no code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// It has not left, and can be tried again.
    #[error("not delivered yet: {reason}")]
    Later {
        /// Why.
        reason: String,
        /// The least wait that the other side asks for.
        after: Option<Duration>,
    },
    /// It has not left, and neither can anything else this way, for now: the server is away, or does not let this sender in.
    #[error("nothing can be delivered: {reason}")]
    Away {
        /// Why.
        reason: String,
    },
    /// It has not left, as the cluster that it goes through is away, or this process may not write there for now. No try of it was made, so that however long
    /// that lasts, it goes soon after.
    #[error("not delivered yet: {reason}")]
    Waits {
        /// Why.
        reason: String,
    },
    /// It may have left: the other side was lost between the message and its answer.
    #[error("perhaps delivered: {reason}")]
    Uncertain {
        /// What happened.
        reason: String,
    },
    /// It will not leave however often it is tried.
    #[error("not delivered: {reason}")]
    Never {
        /// Why.
        reason: String,
    },
}

impl DeliveryError {
    /// Whether it surely has not left, and trying again can help.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Later { .. } | Self::Away { .. } | Self::Waits { .. })
    }

    /// Whether it may have left.
    pub fn uncertain(&self) -> bool {
        matches!(self, Self::Uncertain { .. })
    }

    fn later(reason: impl Into<String>) -> Self {
        Self::Later { reason: reason.into(), after: None }
    }

    fn away(reason: impl Into<String>) -> Self {
        Self::Away { reason: reason.into() }
    }

    fn waits(reason: impl Into<String>) -> Self {
        Self::Waits { reason: reason.into() }
    }

    fn never(reason: impl Into<String>) -> Self {
        Self::Never { reason: reason.into() }
    }
}

/// The digest of an effect key, by which the other side sees it: 32 hexadecimal digits that tell nothing about the key.
pub fn effect_digest(effect_key: &str) -> String {
    let mut digits = HEXLOWER.encode(&Sha256::digest(effect_key.as_bytes()));
    digits.truncate(32);
    digits
}
