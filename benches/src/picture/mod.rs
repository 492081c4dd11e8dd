//! SVG pictures, and the HTML page that contains them. They load nothing from outside, and follow
//! the reader's choice of light or dark.

mod axis;
mod bars;
pub mod page;

use std::fmt::Write;

pub use axis::Axis;
pub use bars::{Bar, Bars};

/// The width of every picture, in pixels.
pub const WIDTH: f64 = 800.0;

/// The role of a shape. [`STYLE`] has the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A figure of coeval.
    Ours,
    /// A figure of another store.
    Other,
    /// Something that must not happen.
    Bad,
}

impl Tone {
    /// Its CSS class.
    pub fn class(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Other => "other",
            Self::Bad => "bad",
        }
    }
}

/// Colours and fonts, for a page and for a separate picture.
pub const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--ink:#1b2026;--soft:#57616c;--grid:#dde2e8;\
--ours:#0b62cc;\
--other:#9ba7b4;--bad:#c8341a;--wash:#fbe9e5}\
@media(prefers-color-scheme:dark){:root{--paper:#14181d;--ink:#e7ebf0;--soft:#a2adb9;\
--grid:#303842;\
--ours:#5aa5ff;--other:#6d7986;--bad:#ff7b5c;--wash:#38211d}}\
svg text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;\
fill:var(--ink)}\
svg .title{font-size:16px;font-weight:600}svg .strong{font-weight:600}svg .soft{fill:var(--soft)}\
svg .paper{fill:var(--paper)}svg .ours{fill:var(--ours)}svg .other{fill:var(--other)}\
svg .bad{fill:var(--bad)}\
svg .wash{fill:var(--wash)}svg .grid{stroke:var(--grid)}svg .rule{stroke:var(--soft)}\
svg line.ours{stroke:var(--ours);stroke-width:2.5}svg line.other{stroke:var(--other);\
stroke-width:2.5}\
svg line.bad{stroke:var(--bad);stroke-width:2.5}svg .box{fill:none;stroke:var(--soft)}\
svg .box.bad{stroke:var(--bad);stroke-width:2;fill:var(--wash)}\
svg polyline{fill:none!important;stroke-width:2;stroke:var(--other)}\
svg polyline.ours{stroke:var(--ours);stroke-width:3.5}\
svg polyline.ink{stroke:var(--ink)}svg polyline.soft{stroke:var(--soft)}\
svg polyline.bad{stroke:var(--bad)}\
svg polyline.dots{stroke-dasharray:2 4}";

/// The alignment of a text relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The text begins at the point.
    Start,
    /// The middle of the text is at the point.
    Middle,
    /// The text ends at the point.
    End,
}

/// A picture in progress.
#[derive(Clone, Debug)]
pub struct Svg {
    title: String,
    height: f64,
    body: String,
}

impl Svg {
    /// An empty picture of this height. Screen readers read the title.
    pub fn new(title: &str, height: f64) -> Self {
        Self { title: title.to_owned(), height, body: String::new() }
    }

    /// Draws a line of text with its baseline at `y`.
    pub fn text(&mut self, [x, y]: [f64; 2], side: Side, class: &str, text: &str) {
        let anchor = match side {
            Side::Start => "start",
            Side::Middle => "middle",
            Side::End => "end",
        };
        let text = escaped(text);
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" \
            class=\"{class}\">{text}</text>"
        );
    }

    /// Draws a rectangle. Even a narrow one stays visible.
    pub fn rect(&mut self, [x, y]: [f64; 2], [width, height]: [f64; 2], class: &str) {
        let width = width.max(1.5);
        let round = if height < 40.0 { 2 } else { 0 };
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             rx=\"{round}\" class=\"{class}\"/>"
        );
    }

    /// Draws a straight line.
    pub fn line(&mut self, [x, y]: [f64; 2], [to_x, to_y]: [f64; 2], class: &str) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{to_x:.1}\" y2=\"{to_y:.1}\" \
             class=\"{class}\"/>"
        );
    }

    /// Draws straight lines from point to point.
    pub fn polyline(&mut self, points: &[[f64; 2]], class: &str) {
        let points: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        let _ = writeln!(self.body, "<polyline points=\"{points}\" class=\"{class}\"/>");
    }

    /// Draws a dot.
    pub fn dot(&mut self, [x, y]: [f64; 2], radius: f64, class: &str) {
        let _ = writeln!(
            self.body,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" class=\"{class}\"/>"
        );
    }

    /// Draws a diamond.
    pub fn diamond(&mut self, [x, y]: [f64; 2], radius: f64, class: &str) {
        let _ = writeln!(
            self.body,
            "<path d=\"M{:.1} {y:.1}L{x:.1} {:.1}L{:.1} {y:.1}L{x:.1} {:.1}Z\" class=\"{class}\"/>",
            x - radius,
            y - radius,
            x + radius,
            y + radius,
        );
    }

    /// The picture as a part of a page that has the [`STYLE`].
    pub fn inline(&self) -> String {
        self.element("", "")
    }

    /// The picture as a separate file, with its own background.
    pub fn alone(&self) -> String {
        let style = format!(
            "<style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n"
        );
        let size = format!(" width=\"{WIDTH}\" height=\"{}\"", self.height);
        self.element(&size, &style)
    }

    fn element(&self, attributes: &str, before: &str) -> String {
        let Self { title, height, body } = self;
        let title = escaped(title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} \
            {height}\"{attributes} role=\"img\">\n\
             <title>{title}</title>\n{before}{body}</svg>\n"
        )
    }
}

/// `text` with the special characters of HTML and XML escaped.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The approximate width of a text of this class, enough to leave room for it.
pub fn width_of(text: &str, class: &str) -> f64 {
    let each = match class {
        "title" => 9.2,
        "strong" => 7.7,
        _ => 7.2,
    };
    text.chars().count() as f64 * each
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_a_picture_alone_has_its_style() {
        let mut svg = Svg::new("a & b", 10.0);
        svg.text([1.0, 2.0], Side::End, "soft", "x < \"y\"");
        let inline = svg.inline();
        assert!(inline.contains("<title>a &amp; b</title>") && inline.contains("x &lt; &quot;y"));
        assert!(!inline.contains("<style>") && svg.alone().contains("prefers-color-scheme:dark"));
        assert!(!svg.alone().replace("http://www.w3.org/2000/svg", "").contains("http"));
    }
}
