//! Plots, as SVG: throughput over threads, latency percentiles, torn reads. A store has one colour
//! throughout; `coeval`'s line is the thick one.

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{
    compare::results::{Results, Unit},
    stores::NAMES,
    table::{rate, time},
};

/// What drawing into a string comes to.
type Drawn = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Colours in the order of [`NAMES`]: `coeval`'s are blues, those of tables warm, those of caches green.
const COLOURS: [(u8, u8, u8); 23] = [
    (0x0b, 0x3d, 0xd9),
    (0x5b, 0x8d, 0xef),
    (0x00, 0xa7, 0xc7),
    (0x1f, 0x5f, 0x99),
    (0x7a, 0xb8, 0xf5),
    (0xd6, 0x27, 0x28),
    (0xff, 0x98, 0x96),
    (0xff, 0x7f, 0x0e),
    (0x8c, 0x56, 0x4b),
    (0xe3, 0x77, 0xc2),
    (0xc4, 0x9c, 0x94),
    (0xb0, 0x7a, 0x00),
    (0x94, 0x67, 0xbd),
    (0x4b, 0x00, 0x82),
    (0x17, 0x8a, 0x7e),
    (0x6b, 0xc4, 0xb8),
    (0x1b, 0x7f, 0x2a),
    (0x72, 0xc2, 0x75),
    (0x8a, 0xa1, 0x00),
    (0xbc, 0xbd, 0x22),
    (0x4d, 0x66, 0x1a),
    (0xa8, 0xd0, 0x8d),
    (0x55, 0x55, 0x55),
];

fn colour(store: &str) -> RGBColor {
    let at = NAMES.iter().position(|name| *name == store).unwrap_or(NAMES.len() - 1);
    let (red, green, blue) = COLOURS[at % COLOURS.len()];
    RGBColor(red, green, blue)
}

const FONT: &str = "sans-serif";
const LEGEND: u32 = 150;
/// Of one panel.
const SIZE: (u32, u32) = (360, 270);
const COLUMNS: usize = 3;
const TITLE: u32 = 40;

/// One chart: a line a store, through points with a name.
struct Panel {
    title: String,
    x: &'static str,
    y: &'static str,
    names: Vec<String>,
    lines: Vec<(String, Vec<Option<f64>>)>,
}

/// All plots for which there are figures, with the names of their files.
pub fn all(results: &Results) -> Vec<(&'static str, String)> {
    let drawn = [
        ("throughput.svg", lines("Operations a second over threads", &throughput(results), false)),
        ("latency.svg", lines("Latency percentiles (logarithmic)", &latency(results), true)),
        ("torn.svg", torn(results)),
    ];
    drawn.into_iter().filter_map(|(name, svg)| Some((name, svg?))).collect()
}

/// A panel for each workload and mix that was run with more than one number of threads.
fn throughput(results: &Results) -> Vec<Panel> {
    let mut panels: Vec<Panel> = Vec::new();
    for row in results.rows.iter().filter(|row| row.unit == Unit::PerSecond) {
        let Some(rest) = row.variant.strip_suffix(" thr") else { continue };
        let (kind, threads) = rest.rsplit_once(", ").unwrap_or(("", rest));
        let kind = if kind.is_empty() { String::new() } else { format!(", {kind}") };
        let title = format!("{}: {}{kind}", row.workload, row.metric);
        let panel = panel(&mut panels, title, ["threads", "a second"]);
        panel.add(&row.store, threads, row.median);
    }
    panels.retain(|panel| panel.names.len() > 1);
    panels
}

/// A panel for each workload and variant with percentiles.
fn latency(results: &Results) -> Vec<Panel> {
    let mut panels: Vec<Panel> = Vec::new();
    for row in results.rows.iter().filter(|row| row.unit == Unit::Nanoseconds) {
        let Some((what, name)) = row.metric.split_once(' ') else { continue };
        let title = format!("{}: {what}s, {}", row.workload, row.variant);
        let panel = panel(&mut panels, title, ["percentile", "time"]);
        panel.add(&row.store, name, row.median.max(1.0));
    }
    panels
}

/// The panel of that title, made if it is not there.
fn panel<'a>(panels: &'a mut Vec<Panel>, title: String, axes: [&'static str; 2]) -> &'a mut Panel {
    let at = panels.iter().position(|panel| panel.title == title).unwrap_or_else(|| {
        let [x, y] = axes;
        panels.push(Panel { title, x, y, names: Vec::new(), lines: Vec::new() });
        panels.len() - 1
    });
    &mut panels[at]
}

/// All panels in a grid, with a legend at the right.
fn lines(title: &str, panels: &[Panel], logarithmic: bool) -> Option<String> {
    if panels.is_empty() {
        return None;
    }
    let rows = panels.len().div_ceil(COLUMNS);
    let columns = panels.len().min(COLUMNS);
    let width = SIZE.0 * columns as u32 + LEGEND;
    let present = |name: &&&str| {
        panels.iter().any(|panel| panel.lines.iter().any(|(store, _)| store == **name))
    };
    let stores: Vec<&str> = NAMES.iter().filter(present).copied().collect();
    let height = (SIZE.1 * rows as u32).max(20 * stores.len() as u32 + 20) + TITLE;
    svg((width, height), |root| {
        let root = root.titled(title, (FONT, 20))?;
        let (grid, legend) = root.split_horizontally(width - LEGEND);
        for (panel, area) in panels.iter().zip(grid.split_evenly((rows, columns))) {
            panel.draw(&area, logarithmic)?;
        }
        for (i, store) in stores.iter().enumerate() {
            let y = 20 + 20 * i as i32;
            let thick = if *store == "coeval" { 4 } else { 2 };
            let swatch = vec![(8, y), (34, y)];
            legend.draw(&PathElement::new(swatch, colour(store).stroke_width(thick)))?;
            legend.draw(&label(store, (42, y), HPos::Left, 13))?;
        }
        Ok(())
    })
}

impl Panel {
    /// Adds the point of that name to the line of that store.
    fn add(&mut self, store: &str, name: &str, y: f64) {
        let Self { names, lines, .. } = self;
        let point = names.iter().position(|n| n == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        let line = lines.iter().position(|(s, _)| s == store).unwrap_or_else(|| {
            lines.push((store.to_owned(), Vec::new()));
            lines.len() - 1
        });
        let points = &mut lines[line].1;
        points.resize(points.len().max(point + 1), None);
        points[point] = Some(y);
    }

    fn draw(&self, area: &Area<'_>, logarithmic: bool) -> Drawn {
        let values = || self.lines.iter().flat_map(|(_, points)| points.iter().flatten().copied());
        let most = values().fold(0.0, f64::max).max(1.0);
        let least = values().fold(f64::INFINITY, f64::min);
        let mut builder = ChartBuilder::on(area);
        builder.caption(&self.title, (FONT, 13)).margin(10);
        builder.x_label_area_size(36).y_label_area_size(62);
        let x = -0.3..self.names.len() as f64 - 0.7;
        let names = |x: &f64| {
            let near = x.round();
            let name = self.names.get(near as usize).filter(|_| (x - near).abs() < 0.01);
            name.cloned().unwrap_or_default()
        };
        macro_rules! draw {
            ($y:expr, $format:expr) => {{
                let mut chart = builder.build_cartesian_2d(x, $y)?;
                let mut mesh = chart.configure_mesh();
                // Many, of which only those at a point have a name.
                mesh.x_labels(30).x_label_formatter(&names).x_desc(self.x);
                mesh.y_desc(self.y);
                mesh.y_labels(6).y_label_formatter(&$format).label_style((FONT, 11));
                mesh.disable_x_mesh().light_line_style(TRANSPARENT).draw()?;
                // `coeval` last, on top.
                for (store, points) in self.lines.iter().rev() {
                    let thick = if store == "coeval" { 3 } else { 1 };
                    let style = colour(store).stroke_width(thick);
                    let points = points.iter().enumerate();
                    let points: Vec<(f64, f64)> =
                        points.filter_map(|(i, y)| Some((i as f64, (*y)?))).collect();
                    chart.draw_series(LineSeries::new(points.clone(), style))?;
                    let dot = |point| Circle::new(point, 2 + thick, colour(store).filled());
                    chart.draw_series(points.into_iter().map(dot))?;
                }
            }};
        }
        if logarithmic {
            draw!((least * 0.7..most * 1.5).log_scale(), |y: &f64| time(*y as u64));
        } else {
            draw!(0.0..most * 1.08, |y: &f64| rate(*y));
        }
        Ok(())
    }
}

/// A bar a store for each size of groups, as long as the share of torn reads.
fn torn(results: &Results) -> Option<String> {
    let torn = || results.rows.iter().filter(|row| row.metric == "torn" && row.store != "std");
    let most = torn().map(|row| row.median).fold(0.0, f64::max).max(0.001);
    let title = |row: &crate::compare::results::Row| format!("{}, {}", row.workload, row.variant);
    let panels = crate::compare::results::distinct(torn().map(title));
    if panels.is_empty() {
        return None;
    }
    let rows = |panel: &String| torn().filter(|row| title(row) == *panel).count() as u32;
    let height = panels.iter().map(|panel| 20 * rows(panel) + 50).sum::<u32>() + TITLE;
    let (left, full) = (130, 480);
    svg((760, height), |root| {
        let root = root.titled("Torn reads, percent of all reads of a group", (FONT, 20))?;
        let mut y = 10;
        for panel in &panels {
            root.draw(&label(panel, (10, y + 8), HPos::Left, 14))?;
            y += 28;
            for row in torn().filter(|row| title(row) == *panel) {
                let end = left + (f64::from(full) * row.median / most) as i32;
                let bar = [(left, y), (end.max(left + 1), y + 14)];
                root.draw(&label(&row.store, (left - 8, y + 7), HPos::Right, 12))?;
                root.draw(&Rectangle::new(bar, colour(&row.store).filled()))?;
                let value = format!("{:.3} %", row.median);
                root.draw(&label(&value, (end + 8, y + 7), HPos::Left, 12))?;
                y += 20;
            }
            y += 22;
        }
        Ok(())
    })
}

fn label<'a>(
    text: &'a str,
    at: (i32, i32),
    side: HPos,
    size: u32,
) -> Text<'a, (i32, i32), &'a str> {
    let style = (FONT, size).into_text_style(&(size, size)).pos(Pos::new(side, VPos::Center));
    Text::new(text, at, style)
}

/// Draws on white.
fn svg(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Option<String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE).ok()?;
        draw(&root).ok()?;
        root.present().ok()?;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::{Figure, sum_up};

    #[test]
    fn every_store_has_a_colour_of_its_own() {
        assert_eq!(COLOURS.len(), NAMES.len());
        let distinct: std::collections::HashSet<_> = COLOURS.iter().collect();
        assert_eq!(distinct.len(), COLOURS.len());
    }

    #[test]
    fn what_was_measured_is_drawn_and_nothing_else() {
        assert!(all(&Results::default()).is_empty());
        let figures = |value| {
            vec![
                Figure::new("gets", "zipf, 1 thr", Unit::PerSecond, value),
                Figure::new("gets", "zipf, 2 thr", Unit::PerSecond, 2.0 * value),
                Figure::new("read p50", "crowd", Unit::Nanoseconds, 100.0),
                Figure::new("read max", "crowd", Unit::Nanoseconds, 1e6),
                Figure::new("torn", "8", Unit::Percent, 0.5),
            ]
        };
        let rows = sum_up("w", &[("coeval", figures(1e6)), ("papaya", figures(2e6))]);
        let plots = all(&Results { rows, absent: Vec::new() });
        let names: Vec<&str> = plots.iter().map(|plot| plot.0).collect();
        assert_eq!(names, ["throughput.svg", "latency.svg", "torn.svg"]);
        for (name, svg) in plots {
            assert!(svg.starts_with("<svg") && svg.contains("papaya"), "{name}");
            assert!(svg.trim_end().ends_with("</svg>"), "{name}");
        }
    }
}
