//! A single HTML page with all of its content.

use std::fmt::Write;

use super::{STYLE, Svg, escaped};

/// Styles that only a page needs.
const PAGE: &str = "\
body{margin:0;background:var(--paper);color:var(--ink);\
font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,\
'DejaVu Sans',sans-serif}main{max-width:840px;margin:0 auto;padding:24px 16px 64px}\
h1{font-size:28px;line-height:1.2}\
h2{font-size:20px;margin-top:48px}figure{margin:16px 0 32px;overflow-x:auto}svg{width:100%;\
min-width:640px;height:auto;\
display:block}figcaption{color:var(--soft);margin-top:8px}.table{overflow-x:auto}\
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}\
th,td{padding:4px 12px 4px 0;\
text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}\
th:first-child,td:first-child{text-align:left;\
white-space:normal;min-width:11em}td:last-child{white-space:normal;min-width:5em}\
.verdict{font-weight:600;border-left:4px solid var(--ours);padding:4px 12px}\
.verdict.defect{border-color:var(--bad)}\
.note{color:var(--soft)}";

/// A page in progress.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// An empty page.
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), body: format!("<h1>{}</h1>\n", escaped(title)) }
    }

    /// Adds a heading.
    pub fn heading(&mut self, text: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escaped(text));
    }

    /// Adds a paragraph, with a CSS class or an empty one.
    pub fn paragraph(&mut self, class: &str, text: &str) {
        let _ = writeln!(self.body, "<p class=\"{class}\">{}</p>", escaped(text));
    }

    /// Adds a picture with a caption.
    pub fn figure(&mut self, svg: &Svg, caption: &str) {
        let (svg, caption) = (svg.inline(), escaped(caption));
        let _ = writeln!(self.body, "<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>");
    }

    /// Adds a table. The first row has the headings.
    pub fn table(&mut self, rows: &[Vec<String>]) {
        self.body += "<div class=\"table\"><table>\n";
        for (i, row) in rows.iter().enumerate() {
            let tag = if i == 0 { "th" } else { "td" };
            let cells: String =
                row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
            let _ = writeln!(self.body, "<tr>{cells}</tr>");
        }
        self.body += "</table></div>\n";
    }

    /// Returns the whole document.
    pub fn html(&self) -> String {
        let (title, body) = (escaped(&self.title), &self.body);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" \
             content=\"width=device-width,initial-scale=1\">\n<title>{title}</title>\n\
             <style>{STYLE}{PAGE}</style>\n</head>\n<body>\n\
             <main>\n{body}</main>\n</body>\n</html>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_everything_that_it_shows() {
        let mut page = Page::new("A <race>");
        page.figure(&Svg::new("t", 10.0), "What it shows.");
        page.table(&[vec!["cache".to_owned()], vec!["coeval & co".to_owned()]]);
        let html = page.html();
        assert!(
            html.contains("<h1>A &lt;race&gt;</h1>") && html.contains("<td>coeval &amp; co</td>")
        );
        assert!(!html.contains("src=") && !html.contains("href=") && !html.contains("url("));
    }
}
