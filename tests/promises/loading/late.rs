//! A leader stops while it gives up its load, and others come.

use crate::common::steps::{at, in_turn, left};
use coeval::internals::loading::{Flights, Joined};
use coeval::reclaim::Asymmetric;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::{Context, Waker};

type Loads = Flights<u64, u64, Asymmetric>;

fn join(loads: &'static Loads) -> Joined<'static, u64, u64, Asymmetric> {
    loads.join(0, &0, || 0)
}

/// A first leader gives up, finds no waiter, and stops before it ends the load. A second one takes
/// the lead and gives up, too. A third caller waits for it. Then the first one goes on.
#[test]
fn a_caller_between_two_failures_is_told_to_lead() {
    let loads: &'static Loads = Box::leak(Box::new(Flights::new()));
    let ((stopped, has_stopped), (go_on, may_go_on)) = (channel(), channel::<()>());
    let first = std::thread::spawn(move || {
        let Joined::Leader(leader) = join(loads) else { panic!("another leads") };
        at(&["flights.deserted"], move || {
            stopped.send(()).unwrap();
            may_go_on.recv().unwrap();
        });
        drop(leader);
    });
    has_stopped.recv().unwrap();
    let Joined::Leader(second) = join(loads) else { panic!("the first leads") };
    let third = Rc::new(Cell::new(None));
    let waits = third.clone();
    in_turn([
        ("flights.to_adrift", Box::new(move || waits.set(Some(join(loads))))),
        (
            "flights.adrift",
            Box::new(move || {
                go_on.send(()).unwrap();
                first.join().unwrap();
            }),
        ),
    ]);
    drop(second);
    assert_eq!(left(), 0, "the second gave up");
    let Some(Joined::Waiter(mut waiter)) = third.take() else { panic!("the second leads") };
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut waiter).poll(&mut context).is_ready(), "it waits for ever");
}
