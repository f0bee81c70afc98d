//! English.

use super::Texts;

pub(super) const TEXTS: Texts = Texts {
    tag: "en",
    heading: "Join the beta",
    code: "Invite code",
    address: "Address your invite was sent to",
    password: "Password, at least 10 characters",
    join: "Join",
    welcome: "Welcome! You are in, and can sign in now with this address:",
    need_code: "You need an invite: open the link in your message, or enter its code.",
    link_heading: "No code, or it has expired?",
    link_words: "Enter your address. If it is invited, we send a new link to it.",
    link_button: "Send me a new link",
    link_asked: "If this address is invited, a message with a new link is on its way to it. Earlier codes no longer work.",
    invalid: "This code does not go with this address. Use the address your invite was sent to, and check the code.",
    used: "This invite was used already. If that was you, sign in instead.",
    revoked: "This invite was taken back. Whoever invited you can tell you more.",
    expired: "This invite has expired. Ask for a new link below.",
    frozen: "Sign-up is paused for the moment. Your invite stays good: please try again later.",
    closed: "Sign-up for your group is not open now.",
    full: "Every place is taken. You are on the waiting list.",
    no_place: "Every place is taken at the moment. Please try again later.",
    used_up: "This code has let in everyone it is for. Whoever gave it to you may have another.",
    account_exists: "There is an account for this address already: sign in, and join with your code from there.",
    password_rule: "Choose a password of 10 to 256 characters.",
    too_many: "This was tried too often. Please wait a little and try again.",
    other: "Something went wrong on our side. Please try again in a moment.",
};
