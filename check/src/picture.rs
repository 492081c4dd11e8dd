//! A finding as a picture: the transactions in the order of their starts, an arrow for each step of
//! the cycle (above, if it goes on in time; below, if it goes back), and when each of them ran.

use crate::finding::{Finding, Portrait, Step};
use crate::graph::Edge;
use std::fmt::Write;

const WIDTH: usize = 240;
const GAP: usize = 70;
const MARGIN: usize = 24;
const LINE: usize = 18;
/// How much higher an arrow goes for each transaction that it passes.
const RISE: usize = 34;
const LANE: usize = 20;
/// The most letters in a line of a box.
const LETTERS: usize = 29;

const STYLE: &str = "\
    text{font:13px ui-sans-serif,system-ui,sans-serif;fill:#1f2328}\
    .title{font-size:17px;font-weight:600}.head{font-weight:600}.quiet{fill:#59636e;font-size:12px}\
    .code{font:12px ui-monospace,Menlo,Consolas,monospace}\
    .box{fill:#f6f8fa;stroke:#8c959f}.bar{fill:#8c959f}\
    .step{fill:none;stroke-width:1.8}.tag{paint-order:stroke;stroke:#fff;stroke-width:4px;font-size:12px}";

impl Finding {
    /// The finding as a picture, in one file of SVG that needs no other.
    pub fn svg(&self) -> String {
        Picture::new(self).draw()
    }
}

struct Picture<'f> {
    finding: &'f Finding,
    /// By column: the transaction.
    columns: Vec<usize>,
    /// By transaction: its column.
    column_of: Vec<usize>,
    svg: String,
}

impl<'f> Picture<'f> {
    fn new(finding: &'f Finding) -> Self {
        let all = &finding.transactions;
        let mut columns: Vec<usize> = (0..all.len()).collect();
        columns.sort_by_key(|at| (all[*at].start, all[*at].number));
        let mut column_of = vec![0; columns.len()];
        columns.iter().enumerate().for_each(|(column, at)| column_of[*at] = column);
        Self { finding, columns, column_of, svg: String::new() }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.svg.write_fmt(text);
        self.svg.push('\n');
    }

    /// The most columns that an arrow of this direction passes; 0 if there is none.
    fn reach(&self, is_forward: bool) -> usize {
        let of_direction = self.finding.cycle.iter().map(|step| self.ends(step));
        let of_direction = of_direction.filter(|(from, to)| (from < to) == is_forward);
        of_direction.map(|(from, to)| from.abs_diff(to)).max().unwrap_or(0)
    }

    fn ends(&self, step: &Step) -> (usize, usize) {
        (self.column_of[step.from], self.column_of[step.to])
    }

    fn draw(mut self) -> String {
        let count = self.columns.len();
        let note = wrapped(&self.finding.note, 90);
        let width = (2 * MARGIN + count * WIDTH + count.saturating_sub(1) * GAP).max(680);
        let lines =
            self.finding.transactions.iter().map(|of| lines_of(of).len()).max().unwrap_or(0);
        let height_of_box = 30 + LINE * lines + 8;
        let room = |reach: usize| if reach > 0 { 26 + RISE * reach } else { 0 };
        let top = 66 + LINE * note.len() + room(self.reach(true));
        let lanes = top + height_of_box + room(self.reach(false)) + 34;
        let height = lanes + LANE * count + MARGIN;
        self.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\">"
        ));
        let name = escaped(&self.finding.name());
        self.put(format_args!("<title>{name}</title><style>{STYLE}</style>"));
        self.markers();
        self.put(format_args!("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"));
        self.put(format_args!("<text class=\"title\" x=\"{MARGIN}\" y=\"32\">{name}</text>"));
        let meaning = escaped(self.finding.anomaly.meaning());
        self.put(format_args!("<text class=\"quiet\" x=\"{MARGIN}\" y=\"51\">{meaning}</text>"));
        for (at, line) in note.iter().enumerate() {
            let (y, line) = (70 + LINE * at, escaped(line));
            self.put(format_args!("<text x=\"{MARGIN}\" y=\"{y}\">{line}</text>"));
        }
        for column in 0..count {
            self.one_box(column, top, height_of_box);
        }
        let finding = self.finding;
        for (at, step) in finding.cycle.iter().enumerate() {
            self.arrow(at, step, top, top + height_of_box);
        }
        self.lanes(lanes, width);
        self.svg.push_str("</svg>\n");
        self.svg
    }

    fn markers(&mut self) {
        for (at, edge) in EDGES.iter().enumerate() {
            let color = color(*edge);
            self.put(format_args!(
                "<marker id=\"m{at}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" \
                 markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">\
                 <path d=\"M0 0L8 4L0 8z\" fill=\"{color}\"/></marker>"
            ));
        }
    }

    fn one_box(&mut self, column: usize, y: usize, height: usize) {
        let finding = self.finding;
        let portrait = &finding.transactions[self.columns[column]];
        let Portrait { number, process, .. } = portrait;
        let x = MARGIN + column * (WIDTH + GAP);
        self.put(format_args!(
            "<rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>"
        ));
        let (left, head) = (x + 10, y + 20);
        self.put(format_args!(
            "<text class=\"head\" x=\"{left}\" y=\"{head}\">T{number}</text>\
             <text class=\"quiet\" x=\"{}\" y=\"{head}\" text-anchor=\"end\">process {process}</text>",
            x + WIDTH - 10
        ));
        for (at, line) in lines_of(portrait).iter().enumerate() {
            let (y, line) = (head + LINE * (at + 1) + 2, escaped(line));
            self.put(format_args!("<text class=\"code\" x=\"{left}\" y=\"{y}\">{line}</text>"));
        }
    }

    /// An arrow from box to box. The ends of a box that several arrows share are apart.
    fn arrow(&mut self, at: usize, step: &Step, top: usize, bottom: usize) {
        let (from, to) = self.ends(step);
        let is_forward = from < to;
        let middle = |column: usize| MARGIN + column * (WIDTH + GAP) + WIDTH / 2;
        let (x, x_to) = if is_forward {
            (middle(from) + 26, middle(to) - 26)
        } else {
            (middle(from) - 26, middle(to) + 26)
        };
        let rise = RISE * from.abs_diff(to);
        // A cubic curve reaches three quarters of the way to its control points.
        let (y, control, tag) = if is_forward {
            (top, top - rise * 4 / 3, top - rise - 5)
        } else {
            (bottom, bottom + rise * 4 / 3, bottom + rise + 14)
        };
        let color = color(step.edge);
        let marker = EDGES.iter().position(|edge| *edge == step.edge).unwrap_or(0);
        self.put(format_args!(
            "<path class=\"step\" stroke=\"{color}\" marker-end=\"url(#m{marker})\" \
             d=\"M{x} {y}C{x} {control} {x_to} {control} {x_to} {y}\"/>"
        ));
        let key = step.key.map_or(String::new(), |key| format!(" · key {key}"));
        self.put(format_args!(
            "<text class=\"tag\" x=\"{}\" y=\"{tag}\" text-anchor=\"middle\">{}. {}{key}</text>",
            usize::midpoint(x, x_to),
            at + 1,
            step.edge.sign()
        ));
    }

    /// When each transaction ran, on one scale.
    fn lanes(&mut self, y: usize, width: usize) {
        let finding = self.finding;
        let all = &finding.transactions;
        let first = all.iter().map(|of| of.start).min().unwrap_or(0);
        let last = all.iter().map(|of| of.end.unwrap_or(of.start)).max().unwrap_or(0);
        let span = (last - first).max(1) as f64;
        let times: Vec<String> = all.iter().map(of_time).collect();
        let longest = times.iter().map(String::len).max().unwrap_or(0);
        let numbers = all.iter().map(|of| of.number.to_string().len()).max().unwrap_or(0);
        let left = MARGIN + 24 + 9 * numbers;
        let right = width - MARGIN - 12 - 7 * longest;
        let place = |time: u64| left as f64 + (time - first) as f64 / span * (right - left) as f64;
        self.put(format_args!(
            "<text class=\"quiet\" x=\"{MARGIN}\" y=\"{}\">when each of them ran</text>",
            y - 12
        ));
        for (lane, at) in self.columns.clone().into_iter().enumerate() {
            let Portrait { number, start, end, .. } = &all[at];
            let (y, text) = (y + LANE * lane, y + LANE * lane + 11);
            let from = place(*start);
            let long = (place(end.unwrap_or(last)) - from).max(2.0);
            self.put(format_args!(
                "<text x=\"{MARGIN}\" y=\"{text}\">T{number}</text>\
                 <rect class=\"bar\" x=\"{from:.1}\" y=\"{y}\" width=\"{long:.1}\" height=\"12\" \
                 rx=\"2\"/><text class=\"quiet\" x=\"{}\" y=\"{text}\">{}</text>",
                right + 12,
                times[at]
            ));
        }
    }
}

fn of_time(of: &Portrait) -> String {
    let end = of.end.map_or("?".to_owned(), |end| end.to_string());
    format!("{} to {end}", of.start)
}

const EDGES: [Edge; 6] =
    [Edge::Ww, Edge::Wr, Edge::Rw, Edge::RwInTime, Edge::Process, Edge::RealTime];

fn color(edge: Edge) -> &'static str {
    match edge {
        Edge::Ww => "#8250df",
        Edge::Wr => "#0969da",
        Edge::Rw | Edge::RwInTime => "#cf222e",
        Edge::Process => "#6e7781",
        Edge::RealTime => "#1a7f37",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What a transaction did, in lines that fit into its box.
fn lines_of(portrait: &Portrait) -> Vec<String> {
    portrait.lines.iter().flat_map(|line| wrapped(line, LETTERS)).collect()
}

/// A text in lines.
fn wrapped(text: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < letters => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
