//! A bar on the terminal; nothing where standard error is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar without a length yet.
pub fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:40} {wide_bar} {pos}/{len}  {elapsed}");
    ProgressBar::new(0).with_style(style.expect("the template is valid"))
}
