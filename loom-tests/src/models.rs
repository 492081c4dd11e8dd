//! The list of the models, for the builds in which all of them are one program.

/// Declares each model as a module of the program that calls this, in `loom-tests/tests`.
#[macro_export]
macro_rules! all_models {
    () => {
        #[path = "batches.rs"]
        mod batches;
        #[path = "clearing.rs"]
        mod clearing;
        #[path = "deadlines.rs"]
        mod deadlines;
        #[path = "derive.rs"]
        mod derive;
        #[path = "domain.rs"]
        mod domain;
        #[path = "eviction.rs"]
        mod eviction;
        #[path = "expiry.rs"]
        mod expiry;
        #[path = "flights.rs"]
        mod flights;
        #[path = "get_many.rs"]
        mod get_many;
        #[path = "gone.rs"]
        mod gone;
        #[path = "groups.rs"]
        mod groups;
        #[path = "index.rs"]
        mod index;
        #[path = "leases.rs"]
        mod leases;
        #[path = "leftover.rs"]
        mod leftover;
        #[path = "places.rs"]
        mod places;
        #[path = "pool.rs"]
        mod pool;
        #[path = "pruning.rs"]
        mod pruning;
        #[path = "queues.rs"]
        mod queues;
        #[path = "quiet.rs"]
        mod quiet;
        #[path = "reclamation.rs"]
        mod reclamation;
        #[path = "recorder.rs"]
        mod recorder;
        #[path = "room.rs"]
        mod room;
        #[path = "sealing.rs"]
        mod sealing;
        #[path = "stamping.rs"]
        mod stamping;
        #[path = "sweeping.rs"]
        mod sweeping;
        #[path = "tags.rs"]
        mod tags;
        #[path = "transact.rs"]
        mod transact;
    };
}
