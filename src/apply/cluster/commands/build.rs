//! What a command is on a cluster: one Job, from what is ordered alone.
//!
//! Its pod passes the `restricted` profile, mounts nothing, and is given nothing of betagate's: no key, no database, no token that its service account does
//! not bring along by itself. Must not know: what is there already, whether account and Secrets are allowed.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::super::MANAGER;
use super::super::build::{container_security, from_secret, literal, literals, secret_key};

/// The label of these Jobs and of their pods: `check` or `step`.
pub(super) const KIND_LABEL: &str = "betagate.dev/job";
/// The annotation by which a step's Job says that its command ended well, where [`WELL`] stands in it. Its pod may have another container that goes on: then the
/// Job itself does not end well.
pub(super) const ENDED: &str = "betagate.dev/ended";
pub(super) const WELL: &str = "well";
/// The annotation that says what it is for.
const ABOUT: &str = "betagate.dev/about";
/// The only container of a pod that counts: an admission webhook may have put others beside it.
pub(super) const CONTAINER: &str = "command";
/// So long may it take until a command runs: a node is found, the image is there.
pub(super) const STARTING: Duration = Duration::from_secs(60);
/// How long after its end a Job is kept. A check's is taken away as soon as it is read; one that is left was read by nobody.
const CHECK_KEPT_SECONDS: u32 = 300;
/// A step's that ended well is what keeps the step from being done twice, should its receipt have been lost: as long as a database may be away.
const STEP_KEPT_SECONDS: u32 = 86_400;
/// The longest readable part of a name. Pods carry the name of their Job in a label, which holds 63 characters.
const READABLE: usize = 40;
/// So many digits of a digest end a name.
const DIGITS: usize = 12;

/// What a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A check asks anew each time: only a Job that still runs answers for this time.
    Check,
    /// A step is carried out once under its key: a Job that ended well has carried it out.
    Step,
}

impl Purpose {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Step => "step",
        }
    }

    fn kept_seconds(self) -> u32 {
        match self {
            Self::Check => CHECK_KEPT_SECONDS,
            Self::Step => STEP_KEPT_SECONDS,
        }
    }
}

/// A command that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What it is for.
    pub purpose: Purpose,
    /// What makes it the same command: the effect's key, or a gate and a check. The same Job is found again by it.
    pub key: String,
    /// The record that asks for an effect: another database, or one that was put back to before it, may have another effect of the same key. A check has none.
    pub record: String,
    /// What people call that.
    pub about: String,
    /// The program it belongs to.
    pub program: String,
    /// Program and arguments, no shell between.
    pub command: Vec<String>,
    /// The image; the installation's own when left out.
    pub image: Option<String>,
    /// The service account; the installation's own when left out.
    pub account: Option<String>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Variables from Secrets: `NAME`, whose key is `value`, or `NAME/KEY`.
    pub secret_env: BTreeMap<String, String>,
    /// How long it may run.
    pub deadline: Duration,
    /// The id of the `Gate` resource that asks, by name: the Job goes with it.
    pub owner: Option<(String, String)>,
}

/// A Job as it is made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Built {
    pub name: String,
    pub body: Value,
}

/// The Job of an order, in this image and under this account.
pub(super) fn built(order: &Order, image: &str, account: &str) -> Built {
    let spec = spec(order, image, account);
    let identity = match order.purpose {
        // Another command is another question.
        Purpose::Check => json!([order.program, order.key, spec]),
        // Whatever the installation's own image is by now: it is the same effect.
        Purpose::Step => json!([order.program, order.key, order.record]),
    };
    let name = name(order, &identity);
    let mut metadata = json!({
        "name": name,
        "labels": labels(order),
        "annotations": { ABOUT: order.about },
    });
    if let Some((gate, uid)) = &order.owner {
        let owner = json!({ "apiVersion": "betagate.dev/v1alpha1", "kind": "Gate", "name": gate, "uid": uid });
        metadata["ownerReferences"] = json!([owner]);
    }
    let body = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec });
    Built { name, body }
}

fn spec(order: &Order, image: &str, account: &str) -> Value {
    let deadline = (order.deadline + STARTING).as_secs();
    json!({
        // Whoever asked decides whether there is another time.
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        // Should no controller be there to end it.
        "activeDeadlineSeconds": deadline,
        "ttlSecondsAfterFinished": order.purpose.kept_seconds(),
        "template": { "metadata": { "labels": labels(order) }, "spec": pod(order, image, account) },
    })
}

fn labels(order: &Order) -> Map<String, Value> {
    let labels = [
        ("app.kubernetes.io/managed-by", MANAGER),
        ("app.kubernetes.io/part-of", order.program.as_str()),
        (KIND_LABEL, order.purpose.word()),
    ];
    labels.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

fn pod(order: &Order, image: &str, account: &str) -> Value {
    let plain = order.env.iter().map(|(name, value)| (name, json!({ "name": name, "value": literal(value) })));
    let secret = order.secret_env.iter().map(|(name, secret)| {
        let (secret, key) = secret_key(secret);
        (name, from_secret(name, secret, key))
    });
    let env: BTreeMap<_, _> = plain.chain(secret).collect();
    let container = json!({
        "name": CONTAINER,
        "image": image,
        "command": literals(&order.command),
        "env": env.into_values().collect::<Vec<_>>(),
        "securityContext": container_security(false),
        // Whoever may write a gate may not fill a node with it.
        "resources": { "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "memory": "512Mi" } },
    });
    json!({
        "restartPolicy": "Never",
        // Whether a token is mounted is the account's to say (`automountServiceAccountToken`): the one of the chart brings none.
        "serviceAccountName": account,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 5,
        "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [container],
    })
}

/// A name that people recognise and nothing else has.
fn name(order: &Order, identity: &Value) -> String {
    let mut readable = format!("{}-", order.purpose.word());
    for c in order.about.chars().take(READABLE - readable.len()) {
        let c = c.to_ascii_lowercase();
        let plain = if c.is_ascii_alphanumeric() { c } else { '-' };
        if plain != '-' || !readable.ends_with('-') {
            readable.push(plain);
        }
    }
    let mut digits = HEXLOWER.encode(&Sha256::digest(identity.to_string()));
    digits.truncate(DIGITS);
    format!("{}-{digits}", readable.trim_end_matches('-'))
}
