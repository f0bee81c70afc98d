//! The tester application's rules and its outside services.
//!
//! Must not know: the controller.
