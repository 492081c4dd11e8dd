//! Keeps a connection to each primary of a cluster, and finds out which of them answers for which
//! slot.

use crate::core::Core;
use crate::link::Link;
use crate::planted::Defect;
use crate::read::late;
use crate::routes::Map;
use crate::slots::SLOTS;
use crate::source::{Place, info_at};
use crate::supervisor::{PAUSES, jittered, open_link};
use crate::topology::{Owner, Report, owners};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisError};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// The least time between two looks at the nodes, if something asks for one.
const BREATH: Duration = Duration::from_millis(10);

/// What is known of a cluster.
pub(crate) struct Cluster {
    /// User, password and encryption hold for all nodes; host and port do not matter.
    info: ConnectionInfo,
    /// Where to ask if there is no connection.
    seeds: Vec<ConnectionInfo>,
    nodes: HashMap<Place, State>,
    connecting: JoinSet<(Place, Result<Arc<Link>, RedisError>)>,
    /// How many links there have been.
    links: u64,
    /// How many terms there have been, and the last one of each slot.
    terms: u64,
    begun: Vec<u64>,
    /// The epoch of each slot's owner when its last term began. A slot that has left and come back
    /// has another one.
    epochs: Vec<u64>,
    /// Removes the entries of terms that have ended, which nothing else looks at.
    sweep: Option<JoinHandle<()>>,
    is_unswept: bool,
    /// For how long redirects cause no look after the last one.
    quiet: Duration,
}

/// How it stands with a node.
enum State {
    Up(Arc<Link>),
    Connecting { pause: Duration },
    Down { until: Instant, pause: Duration },
}

impl Cluster {
    pub fn new(info: ConnectionInfo, further: Vec<ConnectionInfo>) -> Self {
        Self {
            seeds: std::iter::once(info.clone()).chain(further).collect(),
            info,
            nodes: HashMap::new(),
            connecting: JoinSet::new(),
            links: 0,
            terms: 0,
            begun: vec![0; SLOTS],
            epochs: vec![0; SLOTS],
            sweep: None,
            is_unswept: false,
            quiet: Duration::ZERO,
        }
    }

    /// Connects to the nodes for the first time. Those that are down by then are tried on.
    pub async fn connect<V: Clone + Send + Sync + 'static>(
        &mut self,
        core: &Arc<Core<V>>,
    ) -> Result<(), RedisError> {
        // All together have half of the time, so that those that are silent do not use it up.
        let patience = core.settings.wait / (2 * self.seeds.len() as u32);
        self.discover(core, patience.min(core.settings.dead_after / 4)).await?;
        let (mut failed, end) = (None, Instant::now() + core.settings.wait / 2);
        while let Ok(Some(done)) = timeout_at(end, self.connecting.join_next()).await {
            let Ok((place, link)) = done else { continue };
            failed = self.note_connected(core, place, link).or(failed);
        }
        if self.links().is_empty() {
            return Err(failed.unwrap_or_else(late));
        }
        // Those who have connected have asked for a look, which comes now.
        let _ = timeout(Duration::ZERO, core.broken.notified()).await;
        self.look(core).await;
        Ok(())
    }

    /// Keeps the connections, until the task is aborted.
    pub async fn supervise<V: Clone + Send + Sync + 'static>(mut self, core: Arc<Core<V>>) {
        let heartbeat = core.settings.heartbeat;
        let mut beat = Instant::now() + heartbeat;
        loop {
            let next = self.due().map_or(beat, |due| due.min(beat));
            let is_told = timeout_at(next, core.broken.notified()).await.is_ok();
            if is_told {
                sleep(BREATH.min(heartbeat)).await;
            }
            self.take_connected(&core);
            if self.links().is_empty() {
                self.look_for_nodes(&core).await;
            } else if is_told || Instant::now() >= beat {
                self.look(&core).await;
            } else {
                self.try_again(&core);
                continue;
            }
            beat = Instant::now() + heartbeat;
            self.sweep(&core);
        }
    }

    /// When the next attempt to connect is due to a node that is down.
    fn due(&self) -> Option<Instant> {
        let due = |state: &State| match state {
            State::Down { until, .. } => Some(*until),
            _ => None,
        };
        self.nodes.values().filter_map(due).min()
    }

    /// Tries those nodes again for which it is time.
    fn try_again<V: Clone + Send + Sync + 'static>(&mut self, core: &Arc<Core<V>>) {
        let places: Vec<Place> = self.nodes.keys().cloned().collect();
        places.into_iter().for_each(|place| self.connect_to(core, place));
    }

    fn links(&self) -> Vec<Arc<Link>> {
        let up = |state: &State| match state {
            State::Up(link) if !link.is_gone() => Some(Arc::clone(link)),
            _ => None,
        };
        self.nodes.values().filter_map(up).collect()
    }

    /// One heartbeat: asks all nodes what they are and which slots they have, and acts on it.
    async fn look<V: Clone + Send + Sync + 'static>(&mut self, core: &Arc<Core<V>>) {
        let sent = core.clock.now();
        let has_left = core.has_left.swap(false, Ordering::Relaxed);
        let (links, reports) = self.ask_all(core).await;
        if !links.is_empty() {
            self.follow_nodes(core, &reports);
            let is_as_before = self.follow_slots(core, &links, &reports);
            // All who have a term have answered.
            core.serving.confirm(sent);
            self.rest(core, has_left && is_as_before);
        }
    }

    /// While looks find nothing new, as when a slot is half moved, redirects cause fewer of them:
    /// in the end four a heartbeat, but never so few that those who wait for an answer miss them.
    fn rest<V: Clone + Send + Sync + 'static>(&mut self, core: &Core<V>, was_futile: bool) {
        let longest = core.settings.heartbeat.min(core.settings.answer) / 4;
        self.quiet = match was_futile {
            true => (self.quiet * 2).max(BREATH).min(longest),
            false => Duration::ZERO,
        };
        let end = core.clock.now() + self.quiet.as_nanos() as u64;
        core.no_look_before.store(end, Ordering::Relaxed);
    }

    /// What each node says. Who does not answer in time counts as gone.
    async fn ask_all<V: Clone + Send + Sync + 'static>(
        &mut self,
        core: &Arc<Core<V>>,
    ) -> (Vec<Arc<Link>>, Vec<Report>) {
        let mut asked = JoinSet::new();
        for link in self.links() {
            let patience = core.settings.dead_after;
            asked.spawn(async move {
                let report = timeout(patience, report_of(&link)).await;
                (link, report.unwrap_or_else(|_| Err(late())))
            });
        }
        let (mut links, mut reports) = (Vec::new(), Vec::new());
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok((link, Ok(report))) if is_primary(&report) && !link.is_gone() => {
                    links.push(link);
                    reports.push(report);
                }
                Ok((link, report)) => {
                    let why = report.map_or_else(|it| it.to_string(), |_| "a replica".to_owned());
                    core.last_failure.store(Some(Arc::new(why)));
                    core.note_break(&link);
                }
                Err(_) => {}
            }
        }
        (links, reports)
    }

    /// Connects to primaries that are new, or were down for long enough, and forgets what is none.
    fn follow_nodes<V: Clone + Send + Sync + 'static>(
        &mut self,
        core: &Arc<Core<V>>,
        reports: &[Report],
    ) {
        let primaries: Vec<&Place> = reports.iter().flat_map(Report::primaries).collect();
        self.nodes.retain(|place, state| match state {
            State::Up(link) if link.is_gone() => {
                *state = State::Down { until: Instant::now(), pause: PAUSES.0 };
                primaries.contains(&place)
            }
            // It says itself that it is a primary.
            State::Up(_) => true,
            State::Connecting { .. } | State::Down { .. } => primaries.contains(&place),
        });
        for place in primaries {
            self.connect_to(core, place.clone());
        }
    }

    /// Connects to a node in the background, unless that is under way, or it is too early.
    fn connect_to<V: Clone + Send + Sync + 'static>(&mut self, core: &Arc<Core<V>>, place: Place) {
        let pause = match self.nodes.get(&place) {
            None => PAUSES.0,
            Some(State::Down { until, pause }) if *until <= Instant::now() => *pause,
            Some(_) => return,
        };
        self.links += 1;
        let (number, patience) = (self.links, core.settings.dead_after);
        let info = info_at(&self.info, &place);
        self.nodes.insert(place.clone(), State::Connecting { pause });
        let core = Arc::clone(core);
        self.connecting.spawn(async move {
            let open = open_link(&core, info, number, Some(place.clone()));
            let link = timeout(patience, open).await.unwrap_or_else(|_| Err(late()));
            core.broken.notify_one();
            (place, link)
        });
    }

    fn take_connected<V: Clone + Send + Sync + 'static>(&mut self, core: &Arc<Core<V>>) {
        while let Some(done) = self.connecting.try_join_next() {
            if let Ok((place, link)) = done {
                self.note_connected(core, place, link);
            }
        }
    }

    /// Notes how an attempt to connect has ended. Returns why it has failed, if so.
    fn note_connected<V: Clone + Send + Sync + 'static>(
        &mut self,
        core: &Arc<Core<V>>,
        place: Place,
        link: Result<Arc<Link>, RedisError>,
    ) -> Option<RedisError> {
        // Of a node that has been left meanwhile, nothing is expected any more.
        let Some(State::Connecting { pause }) = self.nodes.get(&place) else { return None };
        let pause = *pause;
        match link {
            Ok(link) => {
                core.counts.links.add();
                core.last_failure.store(None);
                link.open();
                self.nodes.insert(place, State::Up(link));
                None
            }
            Err(error) => {
                core.last_failure.store(Some(Arc::new(error.to_string())));
                let until = Instant::now() + jittered(pause);
                let pause = (pause * 2).min(PAUSES.1);
                self.nodes.insert(place, State::Down { until, pause });
                Some(error)
            }
        }
    }

    /// Acts on who answers for which slot.
    ///
    /// The order is what counts: terms end whose slot has another owner, or is not settled; then
    /// the routes change; then terms begin. So what is read of a slot in a term is read through one
    /// link; see `Core::route_now`. Returns whether the routes are as before.
    fn follow_slots<V: Clone + Send + Sync + 'static>(
        &mut self,
        core: &Arc<Core<V>>,
        links: &[Arc<Link>],
        reports: &[Report],
    ) -> bool {
        let owners = owners(&reports.iter().collect::<Vec<_>>());
        let terms = &core.serving.terms;
        let map = Arc::clone(&core.map());
        let has_owner = |slot: usize, owner: &Owner| {
            map.link(slot).number == owner.report.map_or(0, |at| links[at].number)
        };
        let ignored = core.planted.has(Defect::SlotsIgnored) && map.is_up();
        for (slot, owner) in owners.iter().enumerate() {
            let is_same = has_owner(slot, owner) && self.epochs[slot] == owner.epoch;
            if !(ignored || owner.is_settled && is_same) {
                terms.end(slot);
            }
        }
        // Also without slots: a slot that is half moved sends callers there.
        let is_as_before = map.has_links(links)
            && owners.iter().enumerate().all(|(slot, owner)| has_owner(slot, owner));
        if !(ignored || is_as_before) {
            core.set_map(Map::of(links.to_vec(), owners.len(), |slot| owners[slot].report));
        }
        self.note_ended(core);
        for (slot, owner) in owners.iter().enumerate() {
            if owner.is_settled && terms.of(slot) == 0 {
                self.terms += 1;
                self.is_unswept |= self.begun[slot] != 0;
                self.begun[slot] = terms.number(self.terms, slot);
                self.epochs[slot] = owner.epoch;
                terms.begin(self.begun[slot]);
            }
        }
        is_as_before
    }

    /// Notes whether terms have ended, by whomever, since they began.
    fn note_ended<V: Clone + Send + Sync + 'static>(&mut self, core: &Core<V>) {
        for (slot, begun) in self.begun.iter_mut().enumerate() {
            if core.serving.terms.of(slot) != *begun {
                (*begun, self.is_unswept) = (0, true);
            }
        }
    }

    /// There is no connection. Tries the nodes that were known, and asks the seeds for others.
    async fn look_for_nodes<V: Clone + Send + Sync + 'static>(&mut self, core: &Arc<Core<V>>) {
        self.note_ended(core);
        for state in self.nodes.values_mut().filter(|state| matches!(state, State::Up(_))) {
            *state = State::Down { until: Instant::now(), pause: PAUSES.0 };
        }
        self.try_again(core);
        if let Err(error) = self.discover(core, core.settings.dead_after / 4).await {
            core.last_failure.store(Some(Arc::new(error.to_string())));
        }
    }

    /// Asks the seeds, one after the other and each no longer than this, where the nodes are, and
    /// connects to them.
    async fn discover<V: Clone + Send + Sync + 'static>(
        &mut self,
        core: &Arc<Core<V>>,
        patience: Duration,
    ) -> Result<(), RedisError> {
        let mut last = late();
        for _ in 0..self.seeds.len() {
            let asked = ask_seed(&self.seeds[0], patience);
            match timeout(patience, asked).await.unwrap_or_else(|_| Err(late())) {
                Ok(report) => {
                    for place in report.primaries() {
                        self.connect_to(core, place.clone());
                    }
                    return Ok(());
                }
                Err(error) => last = error,
            }
            // One that is silent does not come first again.
            self.seeds.rotate_left(1);
        }
        Err(last)
    }

    /// Has the entries removed that are served no more, beside everything else.
    fn sweep<V: Clone + Send + Sync + 'static>(&mut self, core: &Arc<Core<V>>) {
        let is_under_way = self.sweep.as_ref().is_some_and(|sweep| !sweep.is_finished());
        if !self.is_unswept || is_under_way {
            return;
        }
        self.is_unswept = false;
        let core = Arc::clone(core);
        self.sweep = Some(tokio::task::spawn_blocking(move || {
            core.l1.retain(|_, held| core.serving.terms.is_under_way(held.term));
        }));
    }
}

fn is_primary(report: &Report) -> bool {
    report.myself().is_some_and(|node| node.is_primary)
}

async fn report_of(link: &Link) -> Result<Report, RedisError> {
    let Some(mut connection) = link.connection() else { unreachable!("the link was up") };
    let host = link.place.as_ref().map_or("", |(host, _)| host);
    ask(&mut connection, host).await
}

async fn ask_seed(seed: &ConnectionInfo, patience: Duration) -> Result<Report, RedisError> {
    let host = match seed.addr() {
        redis::ConnectionAddr::Tcp(host, _) => host.clone(),
        redis::ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => String::new(),
    };
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(patience));
    let client = Client::open(seed.clone())?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    ask(&mut connection, &host).await
}

/// Asks a node what it is, and what it knows of the others. The reply comes after the pushes of all
/// that it did before.
async fn ask(connection: &mut MultiplexedConnection, host: &str) -> Result<Report, RedisError> {
    let mut pipe = redis::pipe();
    pipe.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("NODES");
    let (info, nodes): (String, String) = pipe.query_async(connection).await?;
    Ok(Report::read(&nodes, &info, host))
}
