//! Moments at which a controller may be stopped: a test learns of each and may let it hang there, as if its process had died or its machine had gone to
//! sleep. Nothing is stopped where nobody listens, and no name is made up.
//!
//! Must not know: what happens at a moment.

use std::fmt;
use std::sync::OnceLock;

use futures_util::future::BoxFuture;

/// Told of a moment by name; what it gives is waited for before the controller goes on.
type Hook = Box<dyn Fn(&str) -> Option<BoxFuture<'static, ()>> + Send + Sync>;

/// The moments of one controller.
#[derive(Default)]
pub struct Faults(OnceLock<Hook>);

impl Faults {
    /// Tells `hook` of every moment from now on. Only the first one counts.
    pub fn listen(&self, hook: impl Fn(&str) -> Option<BoxFuture<'static, ()>> + Send + Sync + 'static) {
        // A second listener would have to wait for a controller of its own.
        let _ = self.0.set(Box::new(hook));
    }

    pub(super) async fn at(&self, moment: impl FnOnce() -> String) {
        let Some(hook) = self.0.get() else { return };
        if let Some(stopped) = hook(&moment()) {
            stopped.await;
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.0.get().is_some()).finish()
    }
}
