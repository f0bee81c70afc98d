//! The task behind a supervisor: carries out what is decided, and takes in what becomes of the processes.
//!
//! Must not know: why a process is wanted, or where its specification comes from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::child::{self, Event, Launch};
use super::output::Tail;
use super::probe;
use super::roll::{Action, Instance, Phase, ProcessStatus, Workload};
use super::spec::{CommandLine, Listens, ProcessSpec, Ready};
use super::supervisor::{Order, Reply, SupervisorOptions};

/// The only variables of the supervisor's own that a command of someone else's sees: any other may hold a password.
const PASSED_ON: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "TERM"];

/// How one process is spoken to.
struct Handle {
    workload: String,
    orders: UnboundedSender<child::Order>,
    probe: Option<AbortHandle>,
}

/// All that a supervisor knows.
pub(super) struct State {
    pub options: SupervisorOptions,
    events: UnboundedSender<Event>,
    observed: watch::Sender<Vec<ProcessStatus>>,
    pub workloads: BTreeMap<String, Workload>,
    handles: BTreeMap<u64, Handle>,
    next_id: u64,
    /// Who waits for everything to be gone.
    pub leaving: Vec<Reply<()>>,
}

impl State {
    pub(super) fn new(
        options: SupervisorOptions,
        events: UnboundedSender<Event>,
        observed: watch::Sender<Vec<ProcessStatus>>,
    ) -> Self {
        let (workloads, handles) = (BTreeMap::new(), BTreeMap::new());
        Self { options, events, observed, workloads, handles, next_id: 0, leaving: Vec::new() }
    }

    /// Runs until everything is stopped, or nobody is left to want anything.
    pub(super) async fn run(mut self, mut orders: UnboundedReceiver<Order>, mut events: UnboundedReceiver<Event>) {
        loop {
            self.act();
            self.show();
            if !self.leaving.is_empty() && self.handles.is_empty() {
                self.leaving.drain(..).for_each(|reply| drop(reply.send(Ok(()))));
                return;
            }
            let clock = self.options.clock.clone();
            let again = self.workloads.values().filter_map(Workload::look_again_at).min();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    // Nobody is left to want anything: dropping the handles kills what runs.
                    None => return,
                },
                Some(event) = events.recv() => self.take_in(event),
                () = clock.sleep_until(again.unwrap_or(Timestamp::MAX)) => {}
            }
        }
    }

    /// Carries out what is decided, until nothing more is.
    fn act(&mut self) {
        let now = self.options.clock.now();
        self.workloads.values_mut().for_each(|workload| workload.note_proven(now));
        loop {
            let actions: Vec<(String, Action)> = self
                .workloads
                .iter()
                .flat_map(|(name, workload)| workload.next(now).into_iter().map(move |action| (name.clone(), action)))
                .collect();
            if actions.is_empty() {
                return;
            }
            for (name, action) in actions {
                match action {
                    Action::Start { slot } => {
                        let wanted = self.workloads.get(&name).and_then(|workload| workload.spec.clone());
                        self.start(&name, slot, wanted, now);
                    }
                    Action::StandIn { slot } => {
                        let proven = self.workloads.get(&name).and_then(|workload| workload.stand_in(slot)).cloned();
                        if let Some(proven) = &proven {
                            tracing::warn!(
                                workload = name,
                                revision = proven.revision,
                                "the wanted revision crashes again and again; the last one that stayed up stands in"
                            );
                        }
                        self.start(&name, slot, proven, now);
                    }
                    Action::Terminate { id } => self.stop(&name, id, now, child::Order::Terminate, false),
                    Action::Kill { id } => self.stop(&name, id, now, child::Order::Kill, false),
                    Action::GiveUp { id } => self.stop(&name, id, now, child::Order::Kill, true),
                }
            }
        }
    }

    fn show(&mut self) {
        let now = self.options.clock.now();
        let gone = |w: &Workload| w.spec.is_none() && w.instances.is_empty() && w.history.is_empty();
        self.workloads.retain(|_, workload| !gone(workload));
        let seen: Vec<ProcessStatus> = self.workloads.values().flat_map(|w| w.statuses(now)).collect();
        self.observed.send_if_modified(|before| {
            let changed = *before != seen;
            *before = seen;
            changed
        });
    }

    fn start(&mut self, name: &str, slot: u32, spec: Option<Arc<ProcessSpec>>, now: Timestamp) {
        let Some(spec) = spec else { return };
        self.next_id += 1;
        let id = self.next_id;
        let started = self.launch(id, slot, &spec);
        let Some(workload) = self.workloads.get_mut(name) else { return };
        workload.slots.entry(slot).or_default();
        let (port, output) = match &started {
            Ok((_, output, port)) => (*port, output.clone()),
            Err(_) => (None, Tail::default()),
        };
        let ready_now = spec.ready == Ready::Started;
        let phase = if ready_now { Phase::Ready } else { Phase::Starting };
        let spec_kept = Arc::clone(&spec);
        let instance = Instance { id, slot, spec: spec_kept, phase, since: now, pid: None, port, stale: false, output };
        workload.instances.push(instance);
        match started {
            Ok((orders, ..)) => {
                let probe = self.probe(id, &spec, port);
                self.handles.insert(id, Handle { workload: name.to_owned(), orders, probe });
            }
            Err(error) => {
                tracing::error!(workload = name, %error, "cannot start a process");
                workload.ended(id, None, None, now, rand::random());
            }
        }
    }

    fn launch(
        &self,
        id: u64,
        slot: u32,
        spec: &ProcessSpec,
    ) -> std::io::Result<(UnboundedSender<child::Order>, Tail, Option<u16>)> {
        let port = match spec.listens {
            Listens::OwnPort(Some(port)) => Some(port),
            Listens::OwnPort(None) => Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()),
            Listens::Shared | Listens::None => None,
        };
        let input = match (&spec.listens, &self.options.listener) {
            (Listens::Shared, Some(listener)) => Some(listener.handle()?),
            _ => None,
        };
        let (command, hidden): (Vec<OsString>, Vec<OsString>) = match &spec.command {
            CommandLine::ThisBinary(arguments) => {
                let this = OsString::from(self.options.program.0.clone());
                (std::iter::once(this).chain(arguments.iter().map(OsString::from)).collect(), Vec::new())
            }
            CommandLine::Command(words) => {
                let names = std::env::vars_os().map(|(name, _)| name);
                let own = |name: &OsString| {
                    let name = name.to_string_lossy();
                    !PASSED_ON.contains(&name.as_ref()) && !name.starts_with("LC_")
                };
                (words.iter().map(OsString::from).collect(), names.filter(own).collect())
            }
        };
        let mut env: Vec<(String, String)> = vec![
            ("BETAGATE_WORKLOAD".into(), spec.workload.clone()),
            ("BETAGATE_REPLICA".into(), slot.to_string()),
            ("BETAGATE_REVISION".into(), spec.revision.clone()),
        ];
        env.extend(port.map(|port| ("PORT".into(), port.to_string())));
        env.extend(spec.env.clone());
        let (workload, revision) = (spec.workload.clone(), spec.revision.clone());
        let launch =
            Launch { id, workload, revision, shim: self.options.program.0.clone(), command, env, hidden, input };
        let (orders, output) = child::launch(launch, self.events.clone())?;
        Ok((orders, output, port))
    }

    /// Asks a process over HTTP until it is ready, where that is how it tells.
    fn probe(&self, id: u64, spec: &ProcessSpec, own: Option<u16>) -> Option<AbortHandle> {
        let Ready::Http { path, port } = &spec.ready else { return None };
        let (path, port, events) = (path.clone(), port.or(own)?, self.events.clone());
        let asking = tokio::spawn(async move {
            probe::until_ready(port, &path).await;
            let _ = events.send(Event::Ready { id });
        });
        Some(asking.abort_handle())
    }

    fn stop(&mut self, name: &str, id: u64, now: Timestamp, order: child::Order, failed: bool) {
        let instances = self.workloads.get_mut(name).map(|w| &mut w.instances);
        let Some(instance) = instances.and_then(|all| all.iter_mut().find(|i| i.id == id)) else { return };
        let killed = matches!(order, child::Order::Kill);
        if failed {
            tracing::warn!(workload = name, pid = instance.pid, "a process did not get ready in time and is given up");
        } else if killed {
            tracing::warn!(workload = name, pid = instance.pid, "a process did not end within its grace and is killed");
        }
        let asked_at = match instance.phase {
            Phase::Stopping { asked_at, .. } => asked_at,
            _ => now,
        };
        instance.enter(Phase::Stopping { asked_at, killed, failed }, asked_at);
        if let Some(handle) = self.handles.get(&id) {
            // A process that has ended meanwhile says so by its own event.
            let _ = handle.orders.send(order);
        }
    }

    fn take_in(&mut self, event: Event) {
        let now = self.options.clock.now();
        let id = match event {
            Event::Pid { id, .. } | Event::Ready { id } | Event::Ended { id, .. } => id,
        };
        let Some(workload) = self.handles.get(&id).and_then(|h| self.workloads.get_mut(&h.workload)) else { return };
        let instance = workload.instances.iter_mut().find(|i| i.id == id);
        match (event, instance) {
            (Event::Pid { pid, .. }, Some(instance)) => instance.pid = Some(pid),
            (Event::Ready { .. }, Some(instance)) if instance.phase == Phase::Starting => {
                instance.enter(Phase::Ready, now);
            }
            (Event::Ended { code, signal, .. }, Some(instance)) => {
                let (name, pid) = (instance.spec.workload.clone(), instance.pid);
                let asked = matches!(instance.phase, Phase::Stopping { .. });
                tracing::info!(workload = name, pid, code, signal, asked, "a process has ended");
                workload.ended(id, code, signal, now, rand::random());
                if let Some(handle) = self.handles.remove(&id) {
                    handle.probe.inspect(AbortHandle::abort);
                }
            }
            _ => {}
        }
    }
}
