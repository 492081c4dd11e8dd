//! Settings, the monitor, statistics and the recorder.

use crate::counter::count;
use crate::row::Grows::{Linear, Not};
use crate::row::{Row, ended_threads, filled, row, views};
use std::hint::black_box;
use std::time::Duration;

pub fn rows() -> Vec<Row> {
    vec![
        row("collect", "entries", Not, 500, |n| {
            let cache = filled(n);
            cache.collect();
            count(10, || (0..10).for_each(|_| _ = cache.collect()));
        }),
        row("collect", "removed entries", Linear, 200, |n| {
            let cache = filled(n);
            cache.collect();
            (0..n).for_each(|key| _ = cache.remove(&key));
            count(1, || _ = cache.collect());
        }),
        row("collect", "cleared entries", Linear, 500, |n| {
            let cache = filled(n);
            cache.invalidate_all();
            count(1, || _ = cache.collect());
        }),
        row("collect", "ended threads", Linear, 16, |n| {
            let cache = filled(1);
            ended_threads(&cache, n);
            cache.collect(); // Collecting what they left may take some rounds.
            count(1, || _ = cache.collect());
        }),
        row("maintain", "entries", Not, 500, |n| {
            let cache = filled(n);
            cache.collect();
            count(10, || (0..10).for_each(|_| _ = cache.maintain(16)));
        }),
        row("maintain", "steps", Linear, 64, |n| {
            let cache = filled(20_000);
            cache.collect();
            cache.invalidate_all();
            count(1, || _ = cache.maintain(n as usize));
        }),
        row("present_len", "entries", Linear, 500, |n| {
            let cache = filled(n);
            count(1, || assert_eq!(cache.present_len() as u64, n));
        }),
        row("open_views", "views", Linear, 64, |n| {
            let cache = filled(1);
            let open = views(&cache, n);
            count(1, || assert_eq!(cache.open_views().len(), open.len()));
        }),
        row("loads_under_way", "entries", Not, 500, |n| {
            let cache = filled(n);
            cache.get_with(n, || {
                count(10, || (0..10).for_each(|_| _ = black_box(cache.loads_under_way())));
                n
            });
        }),
        row("name", "entries", Not, 500, |n| {
            let cache = filled(n);
            count(100, || (0..100).for_each(|_| _ = black_box(cache.name())));
        }),
        row("policy", "entries", Not, 500, |n| {
            let cache = filled(n);
            count(100, || (0..100).for_each(|_| _ = black_box(cache.policy())));
        }),
        row("reconfigure", "entries", Not, 500, |n| {
            let cache = filled(n);
            let set = |seconds: u64| {
                let time = Duration::from_secs(60 + seconds);
                cache.reconfigure(|settings| _ = settings.time_to_live(time)).unwrap();
            };
            (0..10).for_each(set);
            count(10, || (0..10).for_each(set));
        }),
        row("Monitor::step", "entries", Not, 2_000, |n| {
            let cache = filled(n);
            let mut monitor = cache.monitor();
            monitor.step(10);
            count(10, || (0..10).for_each(|_| _ = monitor.step(50)));
        }),
        row("Monitor::step", "keys of the step", Linear, 32, |n| {
            let cache = filled(2_000);
            let mut monitor = cache.monitor();
            monitor.step(10);
            count(2, || (0..2).for_each(|_| _ = monitor.step(n as usize)));
        }),
        row("timeline", "events", Not, 4_096, |n| {
            let cache = filled(100);
            let timeline = cache.timeline();
            timeline.start();
            (0..n).for_each(|key| _ = cache.get(&(key % 100)));
            count(1, || _ = black_box(timeline.events()));
        }),
        row("len", "entries", Not, 500, |n| {
            let cache = filled(n);
            count(100, || (0..100).for_each(|_| _ = black_box(cache.len())));
        }),
        row("len", "ended threads", Linear, 16, |n| {
            let cache = filled(1);
            ended_threads(&cache, n);
            count(100, || (0..100).for_each(|_| _ = black_box(cache.len())));
        }),
        row("weighted_size", "entries", Not, 500, |n| {
            let cache = filled(n);
            count(100, || (0..100).for_each(|_| _ = black_box(cache.weighted_size())));
        }),
        row("stats", "entries", Not, 500, |n| {
            let cache = filled(n);
            count(100, || (0..100).for_each(|_| _ = black_box(cache.stats())));
        }),
        row("stats", "ended threads", Linear, 16, |n| {
            let cache = filled(1);
            ended_threads(&cache, n);
            count(100, || (0..100).for_each(|_| _ = black_box(cache.stats())));
        }),
    ]
}
