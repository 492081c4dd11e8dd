//! What one reader sees of one key goes forward only.

use coeval::Version;

/// The newest version of a key that a reader has seen, and whether it was absent since.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    newest: Option<Version>,
    gone: bool,
}

impl Seen {
    /// Notes what the next look-up found. Panics if it is older than what was seen before, or what was seen to be
    /// gone.
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
