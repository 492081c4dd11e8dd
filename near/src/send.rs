//! Commands to the server: in a cluster, to the node that answers for their slot, wherever that is.

use crate::core::Core;
use crate::error::Error;
use crate::link::Link;
use crate::planted::Defect;
use crate::read::late;
use crate::routes::Route;
use redis::aio::ConnectionLike;
use redis::{ErrorKind, Pipeline, RedisError, ServerErrorKind, Value};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How many times in a row a node may name another one.
const HOPS: u32 = 8;

/// The pause before a slot is asked for again that is on the move: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// What was answered to commands, one value each.
pub(crate) struct Answer {
    pub values: Vec<Value>,
    /// It came by the link of the route. If not, nothing of it may be installed.
    pub is_direct: bool,
}

/// Why there is no answer.
pub(crate) enum NoAnswer {
    /// The connection, or the server, has failed.
    Failed(RedisError),
    /// There is a reason that has nothing to do with what was sent, and nothing of that was done.
    Other(Error),
}

impl NoAnswer {
    pub fn of_read(self) -> Error {
        match self {
            Self::Failed(error) => Error::of_read(error),
            Self::Other(error) => error,
        }
    }

    pub fn of_write(self) -> Error {
        match self {
            Self::Failed(error) => Error::of_write(error),
            Self::Other(error) => error,
        }
    }
}

/// What a node of a cluster says in place of an answer. It has done nothing.
enum Elsewhere {
    /// Another node answers for the slot.
    Moved((String, u16)),
    /// Another node answers for the key, once, although the slot is not there yet.
    Ask((String, u16)),
    /// Ask again: the slot's keys are on two nodes, or the cluster is not whole.
    Later,
}

impl Elsewhere {
    fn of(error: &RedisError, asked: &Link) -> Option<Self> {
        let ErrorKind::Server(kind) = error.kind() else { return None };
        let place = || {
            let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
            // Without a host, it is that of the node that says so.
            let own = || asked.place.as_ref().map(|(host, _)| host.clone());
            let host = if host.is_empty() { own()? } else { host.to_owned() };
            Some((host, port.parse().ok()?))
        };
        match kind {
            ServerErrorKind::Moved => place().map(Self::Moved),
            ServerErrorKind::Ask => place().map(Self::Ask),
            ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly => Some(Self::Later),
            _ => None,
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Core<V> {
    /// Sends commands for one slot, in a cluster until a node answers, all within the time for
    /// which a call waits for an answer. The keys of all of them are in that slot.
    pub async fn send(&self, route: &Route, commands: &Pipeline) -> Result<Answer, NoAnswer> {
        let until = Instant::now() + self.settings.answer;
        match self.send_to(&route.link, commands, false, until).await {
            Ok(values) => {
                let is_direct = self.settle_route(route);
                Ok(Answer { values, is_direct })
            }
            Err(error) if self.is_cluster() => {
                let values = self.follow(route, error, commands, until).await?;
                Ok(Answer { values, is_direct: false })
            }
            Err(error) => Err(NoAnswer::Failed(error)),
        }
    }

    /// Returns whether an answer by this route is one of the term that is under way. If the slot
    /// has another link by now, that one has told nothing of what has just been answered, which may
    /// be later than its entries: so they are not served any more. On the slot's own link, the
    /// answer came in order, also if no term was under way when the read was sent.
    fn settle_route(&self, route: &Route) -> bool {
        let term = self.serving.terms.of(route.slot);
        if term == route.term || self.planted.has(Defect::OldRouteIgnored) {
            return true;
        }
        let is_replaced = self.map().link(route.slot).number != route.link.number;
        if is_replaced && term != 0 {
            match self.is_cluster() {
                true => self.leave(route.slot),
                false => _ = self.l1.invalidate_all(),
            }
        }
        false
    }

    /// Follows what nodes say in place of an answer, in the first half of a call's time.
    ///
    /// A value that another node has answered is later than what the slot's link has told, and
    /// there is no order between the two. So the slot's term ends before anybody sees the value:
    /// then no entry of the slot is served that may be older.
    async fn follow(
        &self,
        route: &Route,
        mut error: RedisError,
        commands: &Pipeline,
        until: Instant,
    ) -> Result<Vec<Value>, NoAnswer> {
        // The last node that is asked has the other half, so that its answer comes.
        let ask_until = until - self.settings.answer / 2;
        let (mut hops, mut pause) = (0, PAUSES.0);
        let mut asked = route.link.clone();
        loop {
            let Some(elsewhere) = Elsewhere::of(&error, &asked) else {
                return Err(NoAnswer::Failed(error));
            };
            self.leave(route.slot);
            if Instant::now() > ask_until {
                return Err(moving(route, error));
            }
            hops += 1;
            let next = match &elsewhere {
                Elsewhere::Moved(place) | Elsewhere::Ask(place) if hops <= HOPS => {
                    self.map().link_at(place).cloned()
                }
                _ => None,
            };
            let is_asking = next.is_some() && matches!(elsewhere, Elsewhere::Ask(_));
            let next = match next {
                Some(link) => link,
                // Meanwhile the supervisor looks where the slot is.
                None => {
                    sleep(pause).await;
                    (hops, pause) = (0, (pause * 2).min(PAUSES.1));
                    match timeout_at(ask_until, self.route(route.slot)).await {
                        Ok(route) => route.map_err(NoAnswer::Other)?.link,
                        Err(_) => return Err(moving(route, error)),
                    }
                }
            };
            match self.send_to(&next, commands, is_asking, until).await {
                Ok(values) => {
                    self.leave(route.slot);
                    return Ok(values);
                }
                Err(another) => (error, asked) = (another, next),
            }
        }
    }

    /// Ends a slot's term, and has the supervisor look where the slot is, unless that is of no use
    /// at the moment.
    fn leave(&self, slot: usize) {
        if self.planted.has(Defect::RedirectIgnored) {
            return;
        }
        self.serving.terms.end(slot);
        // Relaxed: it only matters how often the supervisor looks.
        self.has_left.store(true, Ordering::Relaxed);
        if self.clock.now() >= self.no_look_before.load(Ordering::Relaxed) {
            self.broken.notify_one();
        }
    }

    async fn send_to(
        &self,
        link: &Link,
        commands: &Pipeline,
        is_asking: bool,
        until: Instant,
    ) -> Result<Vec<Value>, RedisError> {
        let Some(mut connection) = link.connection() else { unreachable!("the link was up") };
        let asking = is_asking.then(|| asking(commands));
        let pipe = asking.as_ref().unwrap_or(commands);
        // Of a transaction, the answers to MULTI and to the commands say only that they are queued.
        let (skipped, count) = match pipe.is_transaction() {
            true => (pipe.len() + 1, 1),
            false => (0, pipe.len()),
        };
        let answer = timeout_at(until, connection.req_packed_commands(pipe, skipped, count)).await;
        values(commands, is_asking, answer.unwrap_or_else(|_| Err(late())))
    }
}

fn moving(route: &Route, last: RedisError) -> NoAnswer {
    NoAnswer::Other(Error::Unsettled { slot: route.slot as u16, last })
}

/// One value for each command, or the first error.
pub(crate) fn values(
    commands: &Pipeline,
    is_asking: bool,
    answer: Result<Vec<Value>, RedisError>,
) -> Result<Vec<Value>, RedisError> {
    let mut values = match answer {
        Ok(values) => values,
        // Of a transaction that was not done, the first command that was refused says why.
        Err(error) => match error.clone().into_server_errors().as_deref() {
            Some([(_, first), ..]) => return Err(first.clone().into()),
            _ => return Err(error),
        },
    };
    refuse_errors(&values)?;
    if commands.is_transaction() {
        let Some(Value::Array(done)) = values.pop() else {
            return Err((ErrorKind::UnexpectedReturnType, "EXEC was not answered").into());
        };
        values = done;
        refuse_errors(&values)?;
    } else if is_asking {
        values = values.into_iter().skip(1).step_by(2).collect();
    }
    Ok(values)
}

fn refuse_errors(values: &[Value]) -> Result<(), RedisError> {
    let error = values.iter().find_map(|value| match value {
        Value::ServerError(error) => Some(error.clone()),
        _ => None,
    });
    error.map_or(Ok(()), |error| Err(error.into()))
}

/// The same commands for a node that does not answer for their slot yet: a transaction has to say so
/// once, other commands each by itself.
pub(crate) fn asking(commands: &Pipeline) -> Pipeline {
    let mut pipe = redis::pipe();
    if commands.is_transaction() {
        pipe.cmd("ASKING").cmd("MULTI");
    }
    for command in commands.cmd_iter() {
        if !commands.is_transaction() {
            pipe.cmd("ASKING");
        }
        pipe.add_command(command.clone());
    }
    if commands.is_transaction() {
        pipe.cmd("EXEC");
    }
    pipe
}
