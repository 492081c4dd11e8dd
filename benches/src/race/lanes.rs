//! A picture of a race: one lane for each thread, with time in microseconds from left to right, and
//! below them what the reader saw.

use super::timeline::{Line, Step, Timeline};
use crate::picture::{Axis, Side, Svg, WIDTH, width_of};

const LEFT: f64 = 104.0;
const RIGHT: f64 = WIDTH - 28.0;
/// The line of the first lane.
const TOP: f64 = 108.0;
const LANE: f64 = 62.0;
const LIST: f64 = 22.0;
/// The number of boxes in one row.
const BOXES: usize = 5;
const BOX: [f64; 2] = [136.0, 46.0];
/// The minimum distance of the numbers of two events.
const APART: f64 = 18.0;
/// An event that is later than the others by more than this factor is drawn at the edge.
const FAR: f64 = 5.0;

/// Draws the picture. `window` describes the window that the steps leave open, if there is one.
pub fn draw(title: &str, timeline: &Timeline, window: Option<&str>) -> Svg {
    let lanes = threads(timeline);
    let bottom = TOP + LANE * (lanes.len() - 1) as f64 + 30.0;
    let list = bottom + 74.0;
    let boxes = list + LIST * timeline.lines.len() as f64 + 34.0;
    let rows = timeline.seen.len().div_ceil(BOXES) as f64;
    let mut svg = Svg::new(title, boxes + rows * (BOX[1] + 10.0) + 4.0);
    svg.text([12.0, 26.0], Side::Start, "title", title);
    let shown = shown(timeline);
    let axis = Axis::linear(shown * 1.04, [LEFT, RIGHT]);
    if let Some(text) = window {
        draw_window(&mut svg, timeline, &axis, bottom, text);
    }
    axis.draw(
        &mut svg,
        [TOP - 40.0, bottom],
        "time since the first event, microseconds (µs)",
        |t| format!("{}", (t * 1e6).round() / 1e6),
    );
    for (i, thread) in lanes.iter().enumerate() {
        let y = TOP + LANE * i as f64;
        svg.text([LEFT - 16.0, y + 5.0], Side::End, "strong", thread);
        let lines = timeline.lines.iter().enumerate();
        let lines: Vec<(usize, &Line)> =
            lines.filter(|(_, line)| line.thread == **thread).collect();
        draw_lane(&mut svg, &axis, y, shown, &lines);
    }
    draw_list(&mut svg, timeline, list, shown);
    draw_seen(&mut svg, timeline, boxes);
    svg
}

/// The threads, writers first.
fn threads(timeline: &Timeline) -> Vec<&String> {
    let mut threads: Vec<&String> = timeline.lines.iter().map(|line| &line.thread).collect();
    threads.sort_by_key(|thread| (!thread.starts_with("writer"), *thread));
    threads.dedup();
    threads
}

/// The end of the visible time: the last event, unless that is much later than the events before.
fn shown(timeline: &Timeline) -> f64 {
    match timeline.lines.as_slice() {
        [.., before, last] if last.micros > FAR * before.micros => before.micros * 1.6,
        [.., last] => last.micros,
        [] => 1.0,
    }
}

fn is(line: &Line, step: Step) -> bool {
    line.event == step.name()
}

/// Draws the window between the two steps.
fn draw_window(svg: &mut Svg, timeline: &Timeline, axis: &Axis, bottom: f64, text: &str) {
    let at = |step| timeline.lines.iter().find(|line| is(line, step)).map(|line| line.micros);
    let (Some(from), Some(to)) = (at(Step::SetComplete), at(Step::InvalidateComplete)) else {
        return;
    };
    let (from, to) = (axis.at(from), axis.at(to));
    svg.rect([from, TOP - 40.0], [to - from, bottom - TOP + 40.0], "wash");
    let half = width_of(text, "strong") / 2.0;
    let middle = f64::midpoint(from, to).clamp(12.0 + half, WIDTH - 12.0 - half);
    svg.text([middle, TOP - 48.0], Side::Middle, "strong bad", text);
}

/// Draws the lane of a thread, from its first event to its last, each with its number.
fn draw_lane(svg: &mut Svg, axis: &Axis, y: f64, shown: f64, lines: &[(usize, &Line)]) {
    let reads = lines.iter().any(|(_, line)| is(line, Step::ReadStart));
    let mixed = lines.iter().any(|(_, line)| line.detail.contains("[OLD]"));
    let class = match (mixed, reads) {
        (true, _) => "bad",
        (false, true) => "ours",
        (false, false) => "other",
    };
    let ends = [lines.first(), lines.last()].map(|line| line.map_or(0.0, |(_, l)| l.micros));
    let [from, to] = ends.map(|micros| axis.at(micros));
    svg.rect([from, y - 7.0], [to - from, 14.0], class);
    let mut free = f64::NEG_INFINITY;
    for (i, line) in lines {
        let x = axis.at(line.micros);
        svg.line([x, y - 11.0], [x, y + 11.0], "rule");
        let number = x.max(free);
        free = number + APART;
        let later = if line.micros > shown { " →" } else { "" };
        svg.text([number, y - 16.0], Side::Middle, "strong", &format!("{}{later}", i + 1));
    }
}

/// Draws the list of events by number.
fn draw_list(svg: &mut Svg, timeline: &Timeline, top: f64, shown: f64) {
    for (i, line) in timeline.lines.iter().enumerate() {
        let y = top + LIST * i as f64;
        svg.text([30.0, y], Side::End, "strong", &(i + 1).to_string());
        svg.text([124.0, y], Side::End, "", &format!("{:.2} µs", line.micros));
        svg.text([144.0, y], Side::Start, "", &line.thread);
        svg.text([224.0, y], Side::Start, "", &line.event);
        let late = if line.micros > shown { "beyond the right edge" } else { "" };
        let detail = if line.detail.is_empty() { late } else { &line.detail };
        svg.text([374.0, y], Side::Start, "soft", detail);
    }
}

/// Draws a box for each member of the group, as the reader saw it.
fn draw_seen(svg: &mut Svg, timeline: &Timeline, top: f64) {
    svg.text([12.0, top - 12.0], Side::Start, "strong", "What that one read returned:");
    let key = timeline.seen.first().copied().flatten().unwrap_or(0);
    for (i, seen) in timeline.seen.iter().enumerate() {
        let x = 12.0 + (i % BOXES) as f64 * (BOX[0] + 10.0);
        let y = top + (i / BOXES) as f64 * (BOX[1] + 10.0);
        let old = seen.is_some_and(|generation| generation < key);
        svg.rect([x, y], BOX, if old { "box bad" } else { "box" });
        let name = match i {
            0 => "the key".to_owned(),
            _ if old => format!("related {i}: OLD"),
            _ => format!("related {i}"),
        };
        svg.text([x + 10.0, y + 19.0], Side::Start, "strong", &name);
        let text =
            seen.map_or("absent".to_owned(), |generation| format!("generation {generation}"));
        svg.text([x + 10.0, y + 37.0], Side::Start, if old { "bad" } else { "" }, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(micros: [f64; 5]) -> Timeline {
        let steps = [
            ("writer-0", Step::UpdateStart),
            ("writer-0", Step::SetComplete),
            ("reader-0", Step::ReadStart),
            ("reader-0", Step::ReadComplete),
            ("writer-0", Step::InvalidateComplete),
        ];
        let line = |((thread, step), micros): ((&str, Step), f64)| Line {
            micros,
            thread: thread.to_owned(),
            event: step.name().to_owned(),
            detail: if step == Step::ReadComplete { "[OLD]".to_owned() } else { String::new() },
        };
        let lines = steps.into_iter().zip(micros).map(line).collect();
        Timeline { lines, seen: vec![Some(2), Some(1), None] }
    }

    #[test]
    fn a_late_event_does_not_squash_the_rest() {
        assert_eq!(shown(&timeline([0.0, 0.2, 0.3, 0.4, 0.7])), 0.7);
        let far = timeline([0.0, 0.2, 0.3, 0.4, 4000.0]);
        assert_eq!(shown(&far), 0.4 * 1.6);
        let svg = draw("t", &far, Some("a window")).inline();
        for part in ["5 →", "beyond the right edge", "a window", "related 1: OLD", "absent"] {
            assert!(svg.contains(part), "{part} is missing in {svg}");
        }
    }

    #[test]
    fn numbers_of_one_lane_do_not_cover_each_other() {
        let svg = draw("t", &timeline([0.0, 100.0, 100.001, 100.002, 200.0]), None).inline();
        let at = |number: &str| {
            let line =
                svg.lines().find(|line| line.ends_with(&format!("\"strong\">{number}</text>")));
            let x = line.unwrap().split('"').nth(1).unwrap();
            x.parse::<f64>().unwrap()
        };
        assert!(at("4") - at("3") >= APART - 0.1);
    }
}
