//! A check that what one reader sees of one key only moves forward.

use coeval::Version;

/// The newest version of a key that a reader has seen, and whether the key was absent since.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    newest: Option<Version>,
    gone: bool,
}

impl Seen {
    /// Notes the result of the next look-up. Panics if it is older than an earlier result, or if it
    /// was absent since.
    #[track_caller]
    pub fn note(&mut self, found: Option<Version>) {
        let Some(version) = found else {
            self.gone = true;
            return;
        };
        let is_later = self.newest.is_none_or(|newest| newest < version);
        let is_same = self.newest == Some(version) && !self.gone;
        assert!(is_later || is_same, "{version} came after {self:?}");
        (self.newest, self.gone) = (Some(version), false);
    }

    /// The newest version that was seen.
    pub fn newest(&self) -> Option<Version> {
        self.newest
    }
}
