//! Bringing a branch of a remote repository into a bare one in the data folder.
//!
//! Must not know: what is in the commits. Secrets go into the transport and nowhere else.

use std::cell::Cell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::{
    AutotagOption, Cred, CredentialType, Direction, ErrorClass, ErrorCode, FetchOptions, Oid, ProxyOptions, Remote,
    RemoteCallbacks, Repository,
};
use secrecy::{ExposeSecret, SecretString};

use super::SourceError;

/// What opens a remote repository.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nothing: public repositories, `file://`.
    #[default]
    None,
    /// A token or password over HTTPS.
    Token {
        /// The user; `git` (which forges ignore beside a token) when left out.
        user: Option<String>,
        /// The token or password.
        token: SecretString,
    },
    /// A private key over SSH. The host must be in `known_hosts`.
    SshKey {
        /// The user, where the address does not say it; `git` when left out.
        user: Option<String>,
        /// The private key as OpenSSH or PEM writes it.
        key: SecretString,
        /// What it is locked with.
        passphrase: Option<SecretString>,
    },
    /// The keys of the SSH agent.
    SshAgent,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token { .. } => "Token",
            Self::SshKey { .. } => "SshKey",
            Self::SshAgent => "SshAgent",
        })
    }
}

impl Credentials {
    fn offer(&self, user: Option<&str>, wanted: CredentialType) -> Result<Cred, git2::Error> {
        let user_of =
            |own: &Option<String>| own.clone().or(user.map(str::to_owned)).unwrap_or_else(|| "git".to_owned());
        match self {
            Self::Token { user: own, token } if wanted.is_user_pass_plaintext() => {
                Cred::userpass_plaintext(&user_of(own), token.expose_secret())
            }
            Self::SshKey { user: own, key, passphrase } if wanted.is_ssh_memory() || wanted.is_ssh_key() => {
                let passphrase = passphrase.as_ref().map(ExposeSecret::expose_secret);
                Cred::ssh_key_from_memory(&user_of(own), None, key.expose_secret(), passphrase)
            }
            Self::SshAgent if wanted.is_ssh_key() => Cred::ssh_key_from_agent(user.unwrap_or("git")),
            Self::SshKey { user: own, .. } if wanted.is_username() => Cred::username(&user_of(own)),
            Self::SshAgent if wanted.is_username() => Cred::username("git"),
            Self::None => Err(refusal("it wants some and none are set")),
            _ => Err(refusal("it wants credentials of another kind than those set")),
        }
    }

    /// Replaces what must not be read by the public, should the transport ever repeat it.
    fn redact(&self, text: &str) -> String {
        match self {
            Self::Token { token, .. } if !token.expose_secret().is_empty() => {
                text.replace(token.expose_secret(), "***")
            }
            _ => text.to_owned(),
        }
    }
}

/// Where the credentials are read from before each fetch, so that rotated secrets need no restart.
pub type ReadCredentials = Arc<dyn Fn() -> Result<Credentials, SourceError> + Send + Sync>;

/// One fetch: from where, which branch, into which bare repository, how long at most.
pub(super) struct Fetch<'f> {
    pub(super) url: &'f str,
    /// `None`: the remote's default branch.
    pub(super) branch: Option<&'f str>,
    pub(super) cache: &'f Path,
    pub(super) credentials: &'f Credentials,
    pub(super) timeout: Duration,
}

impl Fetch<'_> {
    /// Brings the branch over and returns its tip. The bare repository's `HEAD` then is that branch. Blocking.
    pub(super) fn run(&self) -> Result<Oid, SourceError> {
        let cache = open_cache(self.cache)?;
        let until = Instant::now() + self.timeout;
        let mut remote = cache.remote_anonymous(self.url).map_err(|error| self.sorted(&error, until))?;
        let (branch, tip) = self.look(&mut remote, until)?;
        let reference = format!("refs/heads/{branch}");
        let held = cache.find_reference(&reference).ok().and_then(|reference| reference.target());
        if held != Some(tip) || cache.find_commit(tip).is_err() {
            let mut options = FetchOptions::new();
            options.remote_callbacks(self.callbacks(until)).proxy_options(proxy()).download_tags(AutotagOption::None);
            remote
                .fetch(&[format!("+{reference}:{reference}")], Some(&mut options), None)
                .map_err(|error| self.sorted(&error, until))?;
        }
        cache.set_head(&reference).map_err(super::git_read::git)?;
        let commit = cache.find_reference(&reference).and_then(|reference| reference.peel_to_commit());
        commit.map(|commit| commit.id()).map_err(super::git_read::git)
    }

    /// Writes a commit of the bare repository to a branch of the remote that is not there yet; gives the commit that the branch ends with. Blocking.
    pub(super) fn push(
        &self,
        branch: &str,
        make: impl FnOnce() -> Result<Oid, SourceError>,
    ) -> Result<Oid, SourceError> {
        let wanted = format!("refs/heads/{branch}");
        // Proposed before, by one who died before its receipt; or somebody's own.
        if let Some(there) = self.at_the_remote(&[&wanted])?[0] {
            return Ok(there);
        }
        let commit = make()?;
        self.write(&format!("refs/betagate/{branch}"), commit, &wanted)?;
        Ok(commit)
    }

    /// Writes a tag to the remote; when one of its name is there, gives the commit that it means instead. Blocking.
    pub(super) fn push_tag(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Oid, SourceError>,
    ) -> Result<Option<Oid>, SourceError> {
        let wanted = format!("refs/tags/{name}");
        let there = self.at_the_remote(&[&wanted, &format!("{wanted}^{{}}")])?;
        if let Some(there) = there[1].or(there[0]) {
            return Ok(Some(there));
        }
        self.write(&format!("refs/betagate/tags/{name}"), make()?, &wanted)?;
        Ok(None)
    }

    /// What the remote has under some names.
    fn at_the_remote(&self, names: &[&str]) -> Result<Vec<Option<Oid>>, SourceError> {
        let cache = open_cache(self.cache)?;
        let until = Instant::now() + self.timeout;
        let mut remote = cache.remote_anonymous(self.url).map_err(|error| self.sorted(&error, until))?;
        let connection = remote
            .connect_auth(Direction::Fetch, Some(self.callbacks(until)), Some(proxy()))
            .map_err(|error| self.sorted(&error, until))?;
        let heads = connection.list().map_err(|error| self.sorted(&error, until))?;
        let find = |name: &&str| heads.iter().find(|head| head.name() == *name).map(|head| head.oid());
        Ok(names.iter().map(find).collect())
    }

    /// Keeps an object under a name of our own, and writes it to the remote under the wanted one, which must not be there.
    fn write(&self, own: &str, object: Oid, wanted: &str) -> Result<(), SourceError> {
        let cache = open_cache(self.cache)?;
        let until = Instant::now() + self.timeout;
        let mut remote = cache.remote_anonymous(self.url).map_err(|error| self.sorted(&error, until))?;
        cache.reference(own, object, true, "proposed").map_err(super::git_read::git)?;
        let refused = std::rc::Rc::new(std::cell::RefCell::new(None));
        let told = refused.clone();
        let mut callbacks = self.callbacks(until);
        callbacks.push_update_reference(move |_, status| {
            *told.borrow_mut() = status.map(str::to_owned);
            Ok(())
        });
        let mut options = git2::PushOptions::new();
        options.remote_callbacks(callbacks).proxy_options(proxy());
        let pushed = remote.push(&[format!("{own}:{wanted}")], Some(&mut options));
        drop(options);
        pushed.map_err(|error| self.sorted(&error, until))?;
        match refused.borrow_mut().take() {
            None => Ok(()),
            Some(why) => Err(SourceError::Credentials(format!("{wanted} was not taken: {why}"))),
        }
    }

    /// Asks the remote for the branch and its tip, without fetching anything.
    fn look(&self, remote: &mut Remote<'_>, until: Instant) -> Result<(String, Oid), SourceError> {
        let connection = remote
            .connect_auth(Direction::Fetch, Some(self.callbacks(until)), Some(proxy()))
            .map_err(|error| self.sorted(&error, until))?;
        let branch = match self.branch {
            Some(branch) => branch.to_owned(),
            None => {
                let head = connection.default_branch().map_err(|_| SourceError::NoBranch("HEAD".to_owned()))?;
                let head = head.as_str().unwrap_or_default();
                head.strip_prefix("refs/heads/").unwrap_or(head).to_owned()
            }
        };
        let wanted = format!("refs/heads/{branch}");
        let heads = connection.list().map_err(|error| self.sorted(&error, until))?;
        let tip = heads.iter().find(|head| head.name() == wanted).map(|head| head.oid());
        tip.map(|tip| (branch.clone(), tip)).ok_or(SourceError::NoBranch(branch))
    }

    fn callbacks(&self, until: Instant) -> RemoteCallbacks<'_> {
        let mut callbacks = RemoteCallbacks::new();
        let asked = Cell::new(0);
        callbacks.credentials(move |_, user, wanted| {
            // The transport asks again when they were refused; the user's name is asked for beforehand.
            asked.set(asked.get() + u32::from(!wanted.is_username()));
            if asked.get() > 1 {
                return Err(refusal("those set are not accepted"));
            }
            self.credentials.offer(user, wanted)
        });
        callbacks.transfer_progress(move |_| Instant::now() < until);
        callbacks.sideband_progress(move |_| Instant::now() < until);
        callbacks
    }

    /// Sorts the transport's errors by what they mean here; it has few codes and many texts.
    fn sorted(&self, error: &git2::Error, until: Instant) -> SourceError {
        if Instant::now() >= until {
            return SourceError::TimedOut(self.timeout.as_secs());
        }
        let message = without_user(&self.credentials.redact(error.message()));
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        match (error.class(), error.code()) {
            (_, ErrorCode::Auth) => SourceError::Credentials(message),
            (_, ErrorCode::Timeout) => SourceError::TimedOut(self.timeout.as_secs()),
            (_, ErrorCode::Certificate) => {
                SourceError::Unreachable(format!("its certificate is not trusted: {message}"))
            }
            (ErrorClass::Http, _) if says(&["401", "403", "authentication"]) => SourceError::Credentials(message),
            (ErrorClass::Http, _) if says(&["404", "410"]) => SourceError::Vanished(message),
            (ErrorClass::Ssh, _) if says(&["uthenticat", "credentials", "username"]) => {
                SourceError::Credentials(message)
            }
            (_, _)
                if says(&[
                    "not found",
                    "does not exist",
                    "does not appear to be a git repository",
                    "failed to resolve path",
                ]) =>
            {
                SourceError::Vanished(message)
            }
            (ErrorClass::Net | ErrorClass::Os | ErrorClass::Ssl | ErrorClass::Http | ErrorClass::Ssh, _) => {
                SourceError::Unreachable(message)
            }
            (ErrorClass::Repository, ErrorCode::NotFound) => SourceError::Vanished(message),
            (_, ErrorCode::InvalidSpec) => SourceError::Settings(message),
            _ => SourceError::Git(message),
        }
    }
}

fn proxy() -> ProxyOptions<'static> {
    let mut proxy = ProxyOptions::new();
    proxy.auto();
    proxy
}

fn refusal(reason: &str) -> git2::Error {
    git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, reason)
}

/// The bare repository; a damaged one is made anew, since all of it can be fetched again.
fn open_cache(path: &Path) -> Result<Repository, SourceError> {
    if let Ok(repository) = Repository::open_bare(path) {
        return Ok(repository);
    }
    if path.exists() {
        std::fs::remove_dir_all(path).map_err(|error| SourceError::io("the Git cache", &error))?;
    }
    std::fs::create_dir_all(path).map_err(|error| SourceError::io("the Git cache", &error))?;
    Repository::init_bare(path).map_err(super::git_read::git)
}

/// A text without the user part of the addresses in it (`https://user:token@host` → `https://host`).
pub(super) fn without_user(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let authority = after.find(['/', ' ', '\'', '"', '?']).unwrap_or(after.len());
        // SSH's user is part of the address and no secret.
        let secret = if before.ends_with("ssh") { None } else { after[..authority].rfind('@') };
        rest = secret.map_or(after, |at| &after[at + 1..]);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_shows_its_user() {
        for (text, wanted) in [
            ("https://ana:s3cret@host/a.git", "https://host/a.git"),
            ("failed: 'https://token@host:8443/a' and http://x@y", "failed: 'https://host:8443/a' and http://y"),
            ("ssh://git@host/a.git", "ssh://git@host/a.git"),
            ("git@host:a.git", "git@host:a.git"),
            ("https://host/a@b", "https://host/a@b"),
        ] {
            assert_eq!(without_user(text), wanted);
        }
    }
}
