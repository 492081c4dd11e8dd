//! Reads that go to the server.

use crate::core::Core;
use crate::error::Error;
use crate::held::{Held, Local, NEVER};
use crate::planted::Defect;
use crate::routes::Route;
use crate::send::{Answer, NoAnswer};
use redis::{FromRedisValue, RedisError, Value};
use tokio::time::timeout;

/// What one read has brought for its keys, all as of one state of the server.
type Values<V> = Vec<Option<V>>;

impl<V: Clone + Send + Sync + 'static> Core<V> {
    /// Returns the value of one key: from the L1, or from the server.
    pub async fn get(&self, key: &str) -> Result<Option<V>, Error> {
        match self.local(key) {
            Local::Present(value) => Ok(Some(value)),
            Local::Absent => Ok(None),
            Local::Unknown => self.get_from_server(key).await,
        }
    }

    /// The same, if it was not in the L1.
    pub async fn get_from_server(&self, key: &str) -> Result<Option<V>, Error> {
        // For so long a read takes at most. A read that takes longer is one that nobody polls.
        let most = self.settings.wait + self.settings.answer;
        let flight = timeout(most, self.flights.begin(key)).await.ok().flatten();
        // Another caller's read is over, just now or after this one was waiting for it. What it has
        // left in the L1 is as good as any hit. If it has left nothing, this caller reads, too: it
        // has waited for one read, and waits for no more.
        match self.local(key) {
            Local::Present(value) => return Ok(Some(value)),
            Local::Absent => return Ok(None),
            Local::Unknown => {}
        }
        let route = self.route(self.slot(&self.server_key(key))).await?;
        let (mut values, _) = self.fetch(&route, "GET", &[key]).await?;
        drop(flight);
        Ok(values.pop().flatten())
    }

    /// Returns the values of several keys as of one state of the server.
    pub async fn get_many(&self, keys: &[&str]) -> Result<Values<V>, Error> {
        let slot = self.common_slot(keys.iter().map(|key| self.server_key(key)))?;
        let (term, hits) = self.hits(keys, slot);
        let missing: Vec<usize> = (0..keys.len()).filter(|&at| hits[at].is_none()).collect();
        if missing.is_empty() {
            return Ok(hits.into_iter().flatten().map(|held| held.value).collect());
        }
        let route = self.route_now(slot);
        if missing.len() < keys.len() && route.term == term && route.link.is_up() {
            let asked: Vec<&str> = missing.iter().map(|&at| keys[at]).collect();
            let (fetched, is_direct) = self.fetch(&route, "MGET", &asked).await?;
            let hold = is_direct && self.still_hold(keys, &hits, term);
            if hold || self.planted.has(Defect::HitsUnchecked) {
                let mut fetched = fetched.into_iter();
                let value = |hit: Option<Held<V>>| match hit {
                    Some(held) => held.value,
                    None => fetched.next().flatten(),
                };
                return Ok(hits.into_iter().map(value).collect());
            }
        }
        // One command reads them all: whatever the L1 holds does not matter.
        let route = self.route(slot).await?;
        Ok(self.fetch(&route, "MGET", keys).await?.0)
    }

    /// The entries of these keys of one slot that may be served, as of one instant, and the term to
    /// which they belong.
    fn hits(&self, keys: &[&str], slot: usize) -> (u64, Vec<Option<Held<V>>>) {
        let limit = self.limit();
        let mut hits = self.l1.get_many(keys.iter().copied());
        let term = self.serving.terms.of(slot);
        let is_of_term =
            |held: &Held<V>| held.term == term || self.planted.has(Defect::BreakIgnored);
        let now = self.clock.now();
        for hit in &mut hits {
            let is_over = |held: &Held<V>| self.ends(held, limit).iter().any(|end| now >= *end);
            hit.take_if(|held| !is_of_term(held) || is_over(held));
        }
        (term, hits)
    }

    /// Whether all hits are in the L1 as they were, and their term is under way. Asked after a
    /// reply: then each of them was the server's value at the moment of that reply, because no push
    /// came from before the read was sent until after it was answered.
    fn still_hold(&self, keys: &[&str], hits: &[Option<Held<V>>], term: u64) -> bool {
        let pinned = self.l1.pin();
        let now = self.clock.now();
        self.serving.terms.is_under_way(term)
            && keys.iter().zip(hits).all(|(key, hit)| match hit {
                None => true,
                Some(hit) => pinned
                    .get(*key)
                    .is_some_and(|held| held.stamp == hit.stamp && now < self.ends(held, NEVER)[1]),
            })
    }

    /// Reads keys of one slot from the server by one command, and installs what no push has marked
    /// meanwhile. Also returns whether the reply came by the link of the route. For a key of
    /// another type than string, GET is an error, and MGET finds nothing.
    async fn fetch(
        &self,
        route: &Route,
        command: &str,
        keys: &[&str],
    ) -> Result<(Values<V>, bool), Error> {
        let mut marks: Vec<_> = keys.iter().map(|key| Some(self.mark(key, route))).collect();
        let sent = self.clock.now();
        self.counts.reads.add();
        let answer = self.send(route, &self.read_command(command, keys)).await;
        let Answer { values: replies, is_direct } = answer.map_err(NoAnswer::of_read)?;
        if self.planted.has(Defect::ReadsConfirm) {
            self.confirm(&route.link, sent);
        }
        if !is_direct {
            // What another node has read, the route's link is not told of.
            marks.iter_mut().for_each(|mark| *mark = None);
        }
        let (found, times) = parse(replies).map_err(Error::of_read)?;
        let mut values = Vec::with_capacity(keys.len());
        for ((mark, bytes), time) in marks.into_iter().zip(found).zip(times) {
            let value = match bytes {
                Some(bytes) => Some(self.codec.decode(&bytes).map_err(Error::Codec)?),
                None => None,
            };
            // Absent, and not of another type, nor written or gone between the two commands.
            let until = match value {
                Some(_) => Self::deadline(sent, time),
                None => (time == -2).then_some(NEVER),
            };
            if let (Some(mark), Some(until)) = (mark, until) {
                self.install(mark, route, value.clone(), until);
            }
            values.push(value);
        }
        Ok((values, is_direct))
    }

    /// The values by one command, so as of one state; and how long the server keeps each. What
    /// changes between the commands is pushed, and outdates the mark.
    fn read_command(&self, command: &str, keys: &[&str]) -> redis::Pipeline {
        let keys: Vec<String> = keys.iter().map(|key| self.server_key(key)).collect();
        let mut pipe = redis::pipe();
        pipe.cmd(command).arg(&keys);
        for key in &keys {
            pipe.cmd("PTTL").arg(key);
        }
        pipe
    }
}

/// The error of what did not come in time.
pub(crate) fn late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// The values, and the times to live.
type Parsed = (Vec<Option<Vec<u8>>>, Vec<i64>);

fn parse(mut replies: Vec<Value>) -> Result<Parsed, RedisError> {
    let times = replies.split_off(replies.len().min(1));
    let values = replies.pop().unwrap_or(Value::Nil);
    let values = match values {
        Value::Array(_) => Vec::from_redis_value(values)?,
        _ => vec![Option::from_redis_value(values)?],
    };
    let times = times.into_iter().map(i64::from_redis_value).collect::<Result<_, _>>()?;
    Ok((values, times))
}
