//! What somebody does in the middle of another's operation, on one thread, by the step hooks.

use std::cell::RefCell;

type Act = (&'static [&'static str], Box<dyn FnOnce()>);

std::thread_local! { static ACT: RefCell<Option<Act>> = const { RefCell::new(None) }; }

/// Has this thread do something once, when it comes to one of these steps.
pub fn at(steps: &'static [&'static str], act: impl FnOnce() + 'static) {
    ACT.set(Some((steps, Box::new(act))));
    coeval::internals::set_step_hook(|name| {
        let due = ACT.with_borrow_mut(|act| act.take_if(|(steps, _)| steps.contains(&name)));
        if let Some((_, act)) = due {
            act();
        }
    });
}
