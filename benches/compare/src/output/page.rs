//! The comparison as one page.

use coeval_bench::picture::page::Page;

use super::{pictures::Picture, read_back::Document};

const INTRODUCTION: &str = "\
The stores take turns, each in a process of its own; a figure is the median of the rounds. Compare figures of one \
run only. What is missing here is in the tables of the same run.";

/// The page. The pictures are of the document's results.
pub fn html(document: &Document, pictures: &[Picture]) -> String {
    let mut page = Page::new("coeval beside other stores");
    page.paragraph("", INTRODUCTION);
    for Picture { svg, caption, .. } in pictures {
        page.figure(svg, caption);
    }
    let count =
        |word: &str| document.bars.iter().filter(|bar| bar.iter().any(|cell| cell == word)).count();
    let (met, measured) = (count("met"), count("met") + count("missed"));
    page.heading("What the project set itself");
    page.paragraph("", &format!("{met} of {measured} bars that were measured are met."));
    page.table(&document.bars);
    page.heading("What each store promises");
    page.text(document.promises.trim_matches('\n'));
    page.heading("What it was taken on");
    for note in &document.notes {
        page.paragraph("note", note);
    }
    page.html()
}
