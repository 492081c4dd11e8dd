//! A plot for each trace: hit ratio over capacity, with one line for each policy or cache.

use std::{fs, path::Path};

use coeval_bench::picture::{Axis, Side, Svg, WIDTH};

use super::{Cell, Contestant, Error};

const LEFT: f64 = 62.0;
const RIGHT: f64 = WIDTH - 130.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 420.0;
/// The minimum distance of the names at the ends of the lines.
const APART: f64 = 17.0;

/// The style of its line.
fn class(contestant: Contestant) -> &'static str {
    match contestant {
        Contestant::Coeval => "ours",
        Contestant::Opt => "ink",
        Contestant::Lru => "other",
        Contestant::Fifo => "other dots",
        Contestant::Moka => "soft",
        Contestant::MokaExact => "soft dots",
        Contestant::QuickCache => "bad",
    }
}

/// Writes the plot of a trace.
pub fn draw(out: &Path, cells: &[Cell]) -> Result<(), Error> {
    let path = out.join(format!("{}.svg", cells[0].trace));
    fs::write(&path, picture(cells).alone()).map_err(|error| Error::Output(path, error))
}

fn picture(cells: &[Cell]) -> Svg {
    let mut cells: Vec<&Cell> = cells.iter().collect();
    cells.sort_by_key(|cell| cell.capacity);
    let title = format!("{}: hit ratio", cells[0].trace);
    let mut svg = Svg::new(&title, BOTTOM + 50.0);
    svg.text([12.0, 24.0], Side::Start, "title", &title);
    let ratios = cells.iter().flat_map(|cell| cell.ratios.iter().copied());
    let highest = (ratios.fold(0.01, f64::max) * 105.0).min(100.0);
    let percent = Axis::linear(highest, [BOTTOM, TOP]);
    for tick in percent.ticks() {
        let y = percent.at(tick);
        svg.line([LEFT, y], [RIGHT, y], "grid");
        svg.text([LEFT - 8.0, y + 4.0], Side::End, "soft", &format!("{tick} %"));
    }
    let ends = [cells[0], cells[cells.len() - 1]].map(|cell| (cell.capacity as f64).ln());
    // A logarithmic scale: doubling the entries is the same distance everywhere.
    let place = |cell: &Cell| {
        let share = ((cell.capacity as f64).ln() - ends[0]) / (ends[1] - ends[0]).max(1e-9);
        LEFT + 16.0 + share * (RIGHT - LEFT - 32.0)
    };
    for cell in &cells {
        let x = place(cell);
        svg.line([x, TOP], [x, BOTTOM], "grid");
        svg.text([x, BOTTOM + 18.0], Side::Middle, "soft", &cell.capacity.to_string());
    }
    let label = "capacity in entries (a logarithmic scale); hits in percent of requests";
    svg.text([f64::midpoint(LEFT, RIGHT), BOTTOM + 38.0], Side::Middle, "soft", label);
    let mut names = Vec::new();
    for (at, contestant) in Contestant::ALL.into_iter().enumerate() {
        let points: Vec<[f64; 2]> =
            cells.iter().map(|cell| [place(cell), percent.at(cell.ratios[at] * 100.0)]).collect();
        svg.polyline(&points, class(contestant));
        names.push((points[points.len() - 1], contestant));
    }
    names.sort_by(|(a, _), (b, _)| a[1].total_cmp(&b[1]));
    let mut free = TOP;
    for ([x, y], contestant) in names {
        let at = y.max(free);
        free = at + APART;
        svg.polyline(&[[x, y], [x + 24.0, at], [x + 44.0, at]], class(contestant));
        let strong = if contestant == Contestant::Coeval { "strong" } else { "" };
        svg.text([x + 50.0, at + 4.0], Side::Start, strong, contestant.name());
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contestant_has_a_line_and_a_name_that_covers_no_other() {
        let cell = |capacity| Cell { trace: "t".to_owned(), capacity, ratios: vec![0.5; 7] };
        let svg = picture(&[cell(10), cell(5)]).alone();
        assert_eq!(svg.matches("<polyline").count(), 2 * Contestant::ALL.len());
        for contestant in Contestant::ALL {
            assert!(svg.contains(&format!(">{}</text>", contestant.name())), "{svg}");
        }
        assert!(!picture(&[cell(5)]).alone().contains("NaN"));
    }
}
