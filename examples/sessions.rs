//! A store of sessions: `cargo run --example sessions`.
//!
//! A session ends half an hour after its last use, and twelve hours after its beginning, whatever
//! comes first. A user can end all sessions at once. A token is replaced in one step.

use coeval::{Cache, ManualClock, Terms};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq)]
struct Session {
    user: u64,
    cart: Vec<&'static str>,
}

struct Sessions(Cache<String, Session>);

impl Sessions {
    fn new(clock: &ManualClock) -> Self {
        Self(Cache::builder().time_to_idle(30 * MINUTE).manual_clock(clock).build())
    }

    fn begin(&self, token: &str, user: u64) {
        let session = Session { user, cart: Vec::new() };
        let terms = Terms::new().time_to_live(12 * 60 * MINUTE).tags([user]);
        self.0.batch().insert_with(token.into(), session, terms).commit();
    }

    /// Reading is a use, and prolongs the session.
    fn get(&self, token: &str) -> Option<Session> {
        self.0.get(token)
    }

    /// Changes a session. It keeps its deadline and its tag, and no concurrent change is lost.
    fn put_in_cart(&self, token: &str, article: &'static str) -> bool {
        let changed = self.0.atomically(|tx| {
            let add = |session: &Session| {
                let cart = [session.cart.as_slice(), &[article]].concat();
                Session { cart, ..*session }
            };
            tx.update(token.into(), add).is_some()
        });
        changed.is_ok_and(|changed| changed.value)
    }

    /// Replaces a token, and begins the twelve hours anew. No reader finds both, or neither.
    fn replace(&self, old: &str, new: &str) -> bool {
        let replaced = self.0.atomically(|tx| {
            let Some(session) = tx.get(old) else { return false };
            let terms = Terms::new().time_to_live(12 * 60 * MINUTE).tags([session.user]);
            tx.remove(old.into());
            tx.insert_with(new.into(), session, terms);
            true
        });
        replaced.is_ok_and(|replaced| replaced.value)
    }

    /// One commit, however many there are.
    fn end_all_of(&self, user: u64) {
        self.0.invalidate_tag(user);
    }
}

fn main() {
    let clock = ManualClock::new();
    let sessions = Sessions::new(&clock);
    sessions.begin("laptop", 7);
    sessions.begin("phone", 7);
    sessions.begin("guest", 8);

    // Used sessions live on; the others end after half an hour.
    clock.advance(20 * MINUTE);
    assert!(sessions.get("laptop").is_some() && sessions.get("phone").is_some());
    clock.advance(20 * MINUTE);
    assert_eq!(sessions.get("guest"), None);

    // Four threads fill one cart, and nothing is lost.
    std::thread::scope(|scope| {
        for article in ["tea", "cup", "pot", "spoon"] {
            scope.spawn({
                let sessions = &sessions;
                move || assert!(sessions.put_in_cart("laptop", article))
            });
        }
    });
    assert_eq!(sessions.get("laptop").map(|session| session.cart.len()), Some(4));
    assert!(!sessions.put_in_cart("guest", "tea"), "it has ended");

    assert!(sessions.replace("laptop", "laptop 2"));
    assert_eq!(sessions.get("laptop"), None);
    assert_eq!(sessions.get("laptop 2").map(|session| session.cart.len()), Some(4));

    // No use prolongs a session for more than twelve hours.
    for _ in 0..35 {
        clock.advance(20 * MINUTE);
        assert!(sessions.get("laptop 2").is_some());
    }
    clock.advance(20 * MINUTE);
    assert_eq!(sessions.get("laptop 2"), None);

    sessions.begin("tablet", 7);
    sessions.begin("desk", 7);
    sessions.end_all_of(7);
    assert_eq!((sessions.get("tablet"), sessions.get("desk")), (None, None));
    println!("idle, absolute, replaced and revoked sessions ended when they should");
}
