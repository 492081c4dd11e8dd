//! One program with a module for each promise of the library. One program compiles faster, because
//! most of the time goes into the code that the tests share. Tests that need a process of their own
//! are beside this folder.

#[path = "../common/mod.rs"]
mod common;
mod history;

mod alignment;
mod anomalies;
mod api;
mod atomicity;
mod brief_view;
mod bug_refused_set;
mod bug_vast_capacity;
mod by_pin;
mod collect;
mod computed;
mod deadlines;
mod derive;
mod domain;
mod edges;
mod ended;
mod eviction;
mod expiry;
mod expiry_policy;
mod explained;
mod face;
mod introspection;
mod isolation;
mod iteration;
mod large;
mod leases;
mod listener;
mod loaded_terms;
mod loading;
mod memory;
mod monitor;
#[cfg(coeval_internals)]
mod numbers;
mod panics;
mod properties;
mod read_in_place;
mod recursion;
mod relations;
mod retain;
mod retired;
mod settings;
mod staleness;
mod sweeping;
mod tags;
mod terms;
mod transact;
mod users_code;
