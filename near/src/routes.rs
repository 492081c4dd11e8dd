//! Which connection answers for which slot.

use crate::core::Core;
use crate::error::Error;
use crate::link::Link;
use std::sync::Arc;
use tokio::time::{Instant, timeout};

/// Which link answers for which slot. A single server has one slot.
pub(crate) struct Map {
    /// For each slot, where its link stands among the links.
    places: Box<[u16]>,
    /// The first one is no connection: that of slots that nobody answers for.
    links: Vec<Arc<Link>>,
}

/// Where the commands for one slot go, and the term to which belongs what they read.
pub(crate) struct Route {
    pub slot: usize,
    pub link: Arc<Link>,
    /// 0 if what is read may not be installed.
    pub term: u64,
}

impl Map {
    /// Nobody answers.
    pub fn empty(slots: usize) -> Self {
        Self { places: vec![0; slots].into(), links: vec![Arc::new(Link::none())] }
    }

    /// One link answers for all.
    pub fn to(link: Arc<Link>) -> Self {
        Self { places: Box::new([1]), links: vec![Arc::new(Link::none()), link] }
    }

    /// These links answer for what each of them is asked about.
    pub fn of(
        links: Vec<Arc<Link>>,
        slots: usize,
        mut place_of: impl FnMut(usize) -> Option<usize>,
    ) -> Self {
        let mut all = vec![Arc::new(Link::none())];
        all.extend(links);
        // There are fewer nodes than slots.
        let place = |slot| place_of(slot).map_or(0, |at| at as u16 + 1);
        Self { places: (0..slots).map(place).collect(), links: all }
    }

    pub fn link(&self, slot: usize) -> &Arc<Link> {
        &self.links[usize::from(self.places[slot])]
    }

    /// All links, and what is none.
    pub fn links(&self) -> &[Arc<Link>] {
        &self.links
    }

    /// The link to the node that others know by this address.
    pub fn link_at(&self, place: &(String, u16)) -> Option<&Arc<Link>> {
        self.links.iter().find(|link| link.is_up() && link.place.as_ref() == Some(place))
    }

    /// Whether these are all the links.
    pub fn has_links(&self, links: &[Arc<Link>]) -> bool {
        let is_there = |link: &Arc<Link>| self.links.iter().any(|it| it.number == link.number);
        self.links.len() == links.len() + 1 && links.iter().all(is_there)
    }

    /// Whether there is a connection for each slot.
    pub fn is_up(&self) -> bool {
        let up: Vec<bool> = self.links.iter().map(|link| link.is_up()).collect();
        self.places.iter().all(|place| up[usize::from(*place)])
    }

    /// The slots for which this link answers.
    pub fn slots_of(&self, link: u64) -> impl Iterator<Item = usize> {
        (0..self.places.len()).filter(move |slot| self.link(*slot).number == link)
    }
}

impl<V: Clone + Send + Sync + 'static> Core<V> {
    /// Where commands for this slot go. Waits for a connection no longer than the settings say, and
    /// not at all if none can come.
    pub async fn route(&self, slot: usize) -> Result<Route, Error> {
        let route = self.route_now(slot);
        if route.link.is_up() {
            return Ok(route);
        }
        let begin = Instant::now();
        let mut opened = self.opened.subscribe();
        let route = async {
            while !self.has_ended() {
                let route = self.route_now(slot);
                if route.link.is_up() {
                    return Some(route);
                }
                if opened.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            None
        };
        let wait = self.settings.wait;
        let (found, waited) = match timeout(wait, route).await {
            Ok(found) => (found, begin.elapsed()),
            Err(_) => (None, wait),
        };
        found.ok_or_else(|| Error::Down {
            waited,
            cause: self.last_failure.load().as_deref().cloned(),
        })
    }

    /// Where commands for this slot would go now, be there a connection or not.
    ///
    /// First the term, then the link. The link is stored before its term begins: so it is the
    /// term's, or a later one, and then the term has ended, and what is read is not served.
    pub fn route_now(&self, slot: usize) -> Route {
        let term = self.serving.terms.of(slot);
        Route { slot, link: Arc::clone(self.map().link(slot)), term }
    }

    /// The slot in which all of these keys are, as the server knows them.
    pub fn common_slot(&self, keys: impl IntoIterator<Item = String>) -> Result<usize, Error> {
        if !self.is_cluster() {
            return Ok(0);
        }
        let mut keys = keys.into_iter();
        let Some(first) = keys.next() else { return Ok(0) };
        let slot = self.slot(&first);
        match keys.find(|key| self.slot(key) != slot) {
            Some(second) => Err(Error::CrossSlot { first, second }),
            None => Ok(slot),
        }
    }
}
