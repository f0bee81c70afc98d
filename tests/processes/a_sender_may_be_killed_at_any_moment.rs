//! The real binary, killed with SIGKILL at random moments while it sends to a real mail server that counts: nobody gets two, and whoever got none is
//! shown as uncertain, at most one a kill. `BETAGATE_SOAK=N` kills N times as often over N times as many people; 10 is the full size.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use betagate::store::Store;
use betagate::store::invites::{self, MailState};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::support::small::small;
use super::support::{Betagate, Running, SmtpServer, TestDb, databases, free_port};

const KILLS: usize = 5;
const PEOPLE: usize = 200;
/// How long the mail server takes for each message: most kills then fall into one.
const SLOW_MS: f64 = 3.0;
const PATIENCE: Duration = Duration::from_secs(120);

async fn counted(store: &Store) -> BTreeMap<&'static str, i64> {
    let counts = invites::mail_counts(store, Some("small")).await.unwrap_or_default();
    let mut by_state = BTreeMap::new();
    for (_, _, state, count) in counts {
        *by_state.entry(state.as_str()).or_default() += count;
    }
    by_state
}

fn settled(counts: &BTreeMap<&'static str, i64>) -> i64 {
    [MailState::Sent, MailState::Uncertain].iter().map(|state| counts.get(state.as_str()).copied().unwrap_or(0)).sum()
}

/// The generation of everyone's invite, and what became of its message.
async fn everybody(store: &Store) -> BTreeMap<String, (u32, MailState)> {
    let (mut all, mut after) = (BTreeMap::new(), None);
    loop {
        let page = invites::list(store, &invites::Filter { limit: 1000, after, ..Default::default() }).await.unwrap();
        let states = invites::mail_states(store, page.iter().map(|invite| invite.id).collect()).await.unwrap();
        after = page.last().map(|invite| invite.id);
        if after.is_none() {
            return all;
        }
        let of = |invite: invites::Invite| (invite.email.unwrap(), (invite.generation, states[&invite.id]));
        all.extend(page.into_iter().map(of));
    }
}

/// Sends to `people`, killed `kills` times, and says what was uncertain.
async fn sent_and_killed(db: &TestDb, people: usize, kills: usize, seed: u64) -> i64 {
    let server = SmtpServer::start_on(0, SLOW_MS);
    let addresses: Vec<String> = (0..people).map(|number| format!("p{number}@d{}.example.com", number % 7)).collect();
    let rows: Vec<String> = addresses.iter().map(|address| format!("{address},listener-pavia,")).collect();
    let mail = "{ send: true, smtpRef: smtp, rate: 100000/min, perDomain: 100000/min }";
    let repo = small(&rows, mail, "100000/min");
    let data = repo.path().join(".betagate");
    std::fs::create_dir_all(data.join("secrets")).unwrap();
    std::fs::write(data.join("secrets/smtp"), server.url()).unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let log = repo.path().join("up.log");
    let start = || {
        let words = ["up", "--database", &db.url, "--listen", &listen];
        Betagate::new(words).within(repo.path()).start_logging_to(&log)
    };
    // What ran below the killed one may hold the port for a moment longer.
    let revive = |up: &mut Running| {
        if !up.is_running() {
            let said = std::fs::read_to_string(&log).unwrap();
            assert!(said.contains("is in use"), "{said}");
            *up = start();
        }
    };
    let mut random = StdRng::seed_from_u64(seed);
    let mut killed = 0;
    let mut up = start();
    let begun = std::time::Instant::now();
    // Each life sends a random share of the rest, and is killed after a random moment more.
    while killed < kills {
        let left = people.saturating_sub(server.recipients().len());
        let share = random.random_range(0..=(2 * left / (kills - killed + 1)).max(1));
        let goal = (people - left + share).min(people.saturating_sub(kills - killed));
        while server.recipients().len() < goal {
            assert!(begun.elapsed() < PATIENCE * 10, "{}", std::fs::read_to_string(&log).unwrap());
            revive(&mut up);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_micros(random.random_range(0..8_000))).await;
        up.kill();
        killed += 1;
        up = start();
    }
    let store = Store::open(&db.url).await.unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut counts = counted(&store).await;
    while settled(&counts) < people as i64 {
        assert!(std::time::Instant::now() < deadline, "{counts:?}\n{}", std::fs::read_to_string(&log).unwrap());
        revive(&mut up);
        tokio::time::sleep(Duration::from_millis(50)).await;
        counts = counted(&store).await;
    }
    up.interrupt(Duration::from_secs(20));
    let delivered = server.recipients();
    let once: BTreeSet<&String> = delivered.iter().collect();
    assert_eq!(once.len(), delivered.len(), "{}: somebody got two", db.name);
    let uncertain = counts.get("uncertain").copied().unwrap_or(0);
    assert_eq!(settled(&counts), people as i64, "{counts:?}: everyone is one or the other");
    let sent = counts["sent"];
    assert!(sent <= delivered.len() as i64, "what is called sent was taken");
    assert!(delivered.len() as i64 <= people as i64 && delivered.len() as i64 + uncertain >= people as i64);
    assert!(uncertain <= killed as i64, "{uncertain} uncertain after {killed} kills");
    let all = everybody(&store).await;
    assert_eq!(all.len(), people);
    for (email, (generation, state)) in &all {
        assert_eq!(*generation, 1, "nobody was invited anew by itself");
        assert!(*state == MailState::Uncertain || once.contains(email), "{email} got none and is called {state}");
    }
    store.close().await;
    println!(
        "{}: {people} people, {killed} kills: {} taken by the mail server, none twice; {sent} receipted, {uncertain} uncertain",
        db.name,
        delivered.len()
    );
    uncertain
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_may_be_killed_at_any_moment() {
    let soak: usize = std::env::var("BETAGATE_SOAK").ok().and_then(|soak| soak.parse().ok()).unwrap_or(1);
    for (seed, db) in databases().iter().enumerate() {
        sent_and_killed(db, PEOPLE * soak, KILLS * soak, seed as u64).await;
    }
}
