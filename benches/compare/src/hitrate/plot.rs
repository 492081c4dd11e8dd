//! A plot for each trace: hit ratio over capacity, every contestant in its colour.

use std::path::Path;

use plotters::prelude::*;

use super::{Cell, Contestant, Error};

/// The same in all plots. (Okabe & Ito's palette, which the colour-blind can tell apart.)
fn colour(contestant: Contestant) -> RGBColor {
    match contestant {
        Contestant::Coeval => RGBColor(213, 94, 0),
        Contestant::Lru => RGBColor(0, 114, 178),
        Contestant::Fifo => RGBColor(86, 180, 233),
        Contestant::Moka => RGBColor(0, 158, 115),
        Contestant::MokaExact => RGBColor(150, 200, 170),
        Contestant::QuickCache => RGBColor(204, 121, 167),
        Contestant::Opt => RGBColor(0, 0, 0),
    }
}

/// Writes the plot of a trace.
pub fn draw(out: &Path, cells: &[Cell]) -> Result<(), Error> {
    let path = out.join(format!("{}.svg", cells[0].trace));
    try_to_draw(&path, cells).map_err(|error| Error::Plot(path, error.to_string()))
}

fn try_to_draw(path: &Path, cells: &[Cell]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, (820, 500)).into_drawing_area();
    root.fill(&WHITE)?;
    let capacities = cells.iter().map(|cell| cell.capacity as f64);
    let least = capacities.clone().fold(f64::INFINITY, f64::min).max(1.0);
    let most = capacities.fold(1.0, f64::max);
    let ratios = cells.iter().flat_map(|cell| cell.ratios.iter().copied());
    let highest = ratios.fold(0.01, f64::max) * 105.0;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("{}: hit ratio", cells[0].trace), ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d((least * 0.9..most * 1.1).log_scale(), 0.0..highest.min(100.0))?;
    chart
        .configure_mesh()
        .x_desc("capacity in entries")
        .y_desc("hits, % of requests")
        .x_label_formatter(&|capacity| format!("{capacity:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for (place, contestant) in Contestant::ALL.into_iter().enumerate() {
        let width = if contestant == Contestant::Coeval { 3 } else { 2 };
        let style = colour(contestant).stroke_width(width);
        let mut points: Vec<(f64, f64)> =
            cells.iter().map(|cell| (cell.capacity as f64, cell.ratios[place] * 100.0)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        chart
            .draw_series(LineSeries::new(points, style).point_size(width + 1))?
            .label(contestant.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .position(SeriesLabelPosition::LowerRight)
        .draw()?;
    root.present()?;
    Ok(())
}
