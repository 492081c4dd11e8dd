//! The writes that a caller lists for one commit.

use crate::relation;
use std::time::Duration;

/// One write that a caller listed.
pub struct Change<K, V> {
    pub key: K,
    pub hash: u32,
    /// `None` for a removal.
    pub value: Option<V>,
    /// The terms of the value.
    pub terms: WriteTerms,
    /// Whether the declared relations of the key apply.
    pub related: bool,
}

/// The terms of one write.
#[derive(Clone, Copy)]
pub enum WriteTerms {
    Default,
    TimeToLive(Duration),
    /// The terms with this index in the list of the [`Changes`].
    Given(u32),
}

/// The writes that a caller listed for one commit, and the terms given for them. The terms are not
/// stored with each change, because changes are moved about and most of them have none.
pub struct Changes<K, V> {
    pub(super) list: Vec<Change<K, V>>,
    pub(super) terms: Option<Box<TermsList>>,
}

/// The terms of the changes that have some.
#[derive(Default)]
pub(super) struct TermsList(pub Vec<relation::Terms>);

impl<K, V> Changes<K, V> {
    pub fn push(&mut self, change: Change<K, V>) {
        self.list.push(change);
    }

    /// Stores terms for a change that is pushed afterwards.
    pub fn add_terms(&mut self, terms: relation::Terms) -> WriteTerms {
        let TermsList(list) = &mut **self.terms.get_or_insert_default();
        list.push(terms);
        WriteTerms::Given(u32::try_from(list.len() - 1).expect("a commit has fewer writes"))
    }

    /// Takes all changes out.
    pub fn take(&mut self) -> Self {
        Self { list: std::mem::take(&mut self.list), terms: self.terms.take() }
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
