//! A bar chart.

use super::{Axis, Side, Svg, Tone, WIDTH, axis::BELOW, width_of};

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// The text before the bar.
    pub name: String,
    /// The length of the bar.
    pub value: f64,
    /// The text behind the bar.
    pub label: String,
    /// A muted text behind the label.
    pub note: String,
    /// The colour of the bar.
    pub tone: Tone,
    /// Whether the bar is coeval's, whose name is in bold.
    pub ours: bool,
}

/// A chart of bars.
#[derive(Clone, Debug)]
pub struct Bars {
    /// The title above the chart.
    pub title: String,
    /// Muted lines below the title.
    pub notes: Vec<String>,
    /// The label of the axis, with the unit.
    pub axis: String,
    /// The bars, from the top.
    pub bars: Vec<Bar>,
    /// Whether the axis has powers of ten instead of a zero; then dots replace the bars.
    pub logarithmic: bool,
}

const ROW: f64 = 24.0;
/// The top of the first bar, without notes.
const TOP: f64 = 44.0;
const NOTE: f64 = 20.0;

impl Bars {
    /// Draws the picture. `format` formats the values of the axis.
    pub fn draw(&self, format: impl Fn(f64) -> String) -> Svg {
        let Self { title, notes, axis: label, bars, logarithmic } = self;
        let top = TOP + NOTE * notes.len() as f64;
        let bottom = top + ROW * bars.len() as f64;
        let mut svg = Svg::new(title, bottom + BELOW);
        svg.text([12.0, 24.0], Side::Start, "title", title);
        for (i, note) in notes.iter().enumerate() {
            svg.text([12.0, 46.0 + NOTE * i as f64], Side::Start, "soft", note);
        }
        let class = |bar: &Bar| if bar.ours { "strong" } else { "" };
        let widest = |of: &dyn Fn(&Bar) -> f64| bars.iter().map(of).fold(0.0, f64::max);
        let left = 22.0 + widest(&|bar| width_of(&bar.name, class(bar)));
        let behind = widest(&|bar| width_of(&bar.label, "") + width_of(&bar.note, ""));
        let most = widest(&|bar| bar.value);
        let least = bars.iter().map(|bar| bar.value).filter(|value| *value > 0.0);
        let least = least.fold(f64::INFINITY, f64::min).min(most);
        let ends = [left, (WIDTH - behind - 40.0).max(left + 150.0)];
        let axis = if *logarithmic {
            Axis::logarithmic(least, most, ends)
        } else {
            Axis::linear(most, ends)
        };
        axis.draw(&mut svg, [top - 4.0, bottom], label, format);
        for (i, bar) in bars.iter().enumerate() {
            let y = top + ROW * i as f64;
            let end = axis.at(bar.value);
            svg.text([left - 10.0, y + 14.0], Side::End, class(bar), &bar.name);
            if *logarithmic {
                // Without a zero, the length of a bar means nothing, so a dot marks its value.
                svg.line([left, y + 10.0], [end, y + 10.0], "grid");
                svg.dot([end, y + 10.0], 6.0, bar.tone.class());
            } else if bar.value > 0.0 {
                svg.rect([left, y + 2.0], [end - left, ROW - 8.0], bar.tone.class());
            }
            let end = end + if *logarithmic { 12.0 } else { 8.0 };
            svg.text([end, y + 14.0], Side::Start, class(bar), &bar.label);
            let end = end + width_of(&bar.label, class(bar)) + 8.0;
            svg.text([end, y + 14.0], Side::Start, "soft", &bar.note);
        }
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_value_and_none_leaves_the_picture() {
        let bar = |name: &str, value| Bar {
            name: name.to_owned(),
            value,
            label: format!("{value}"),
            note: "evicts".to_owned(),
            tone: Tone::Other,
            ours: name == "coeval",
        };
        let bars = vec![bar("coeval", 40.0), bar("papaya", 20.0), bar("none", 0.0)];
        let (title, axis) = ("reads".to_owned(), "reads a second".to_owned());
        let notes = vec!["longer is better".to_owned()];
        let svg =
            Bars { title, notes, axis, bars, logarithmic: false }.draw(|v| v.to_string()).inline();
        let attribute = |line: &str, name: &str| -> f64 {
            line.split(&format!("{name}=\""))
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        let rects: Vec<&str> = svg.lines().filter(|line| line.contains("<rect")).collect();
        assert_eq!(rects.len(), 2, "nothing has no bar");
        let widths: Vec<f64> = rects.iter().map(|rect| attribute(rect, "width")).collect();
        assert!((widths[0] / widths[1] - 2.0).abs() < 0.01, "{widths:?}");
        for text in svg.lines().filter(|line| line.contains("<text")) {
            assert!((0.0..WIDTH).contains(&attribute(text, "x")), "{text}");
        }
    }
}
