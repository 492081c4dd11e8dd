//! The keys and the values of the cache: a user, and the profile and the feed that show the user.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The number of a user.
pub type Id = i64;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Key {
    User(Id),
    Profile(Id),
    Feed(Id),
}

/// A row of one of the three tables. The revision is that of the user for which it was made: a
/// change of a user changes all three rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    pub revision: i64,
}

/// See [`User`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub text: String,
    pub revision: i64,
}

/// See [`User`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    pub lines: String,
    pub revision: i64,
}

coeval::kinds! {
    /// What the cache holds.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub enum Row {
        User(User),
        Profile(Profile),
        Feed(Feed),
    }
}

/// What a request for a page shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    pub user: User,
    pub profile: Profile,
    pub feed: Feed,
}

impl Page {
    /// The keys of a page, which are loaded and written together.
    pub fn keys(id: Id) -> [Key; 3] {
        [Key::User(id), Key::Profile(id), Key::Feed(id)]
    }

    /// The values of these keys.
    pub fn into_rows(self) -> [Row; 3] {
        [self.user.into(), self.profile.into(), self.feed.into()]
    }

    pub fn from_rows(rows: [Row; 3]) -> Self {
        let [Row::User(user), Row::Profile(profile), Row::Feed(feed)] = rows else {
            unreachable!("each key has a row of its own kind")
        };
        Self { user, profile, feed }
    }
}

/// As the live page shows keys: `user:7`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Profile(id) => write!(f, "profile:{id}"),
            Self::Feed(id) => write!(f, "feed:{id}"),
        }
    }
}

/// As the live page reads keys.
impl FromStr for Key {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, id) = text.split_once(':').ok_or(())?;
        let id = id.parse().map_err(drop)?;
        match kind {
            "user" => Ok(Self::User(id)),
            "profile" => Ok(Self::Profile(id)),
            "feed" => Ok(Self::Feed(id)),
            _ => Err(()),
        }
    }
}
