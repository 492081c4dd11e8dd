//! Building: no type need be written twice.

use coeval::{Cache, Related};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(u64),
    Profile(u64),
}

#[test]
fn a_relation_infers_its_types() {
    // A type for the cache is written before the builder.
    let cache = Cache::<String, u64>::builder()
        .related(|key, related| {
            if let Some(id) = key.strip_prefix("user:") {
                related.invalidate(format!("profile:{id}"));
            }
        })
        .build();
    cache.insert_many([("profile:7".into(), 1), ("user:7".into(), 2)]);
    cache.insert("user:7".into(), 3);
    assert_eq!(cache.get_many(["user:7", "profile:7"]), [Some(3), None]);

    type Users = Cache<Key, String>;
    let users = Users::builder()
        .weigher(|_, name| name.len() as u32)
        .related(|key, related| {
            if let Key::User(id) = key {
                related.invalidate(Key::Profile(*id));
            }
        })
        .max_capacity(100)
        .build();
    users.insert(Key::Profile(7), "Ada".into());
    users.insert(Key::User(7), "Ada".into());
    assert_eq!(users.get_many(&[Key::User(7), Key::Profile(7)]), [Some("Ada".into()), None]);

    // A function with the types of the cache declares the relation.
    fn relate(key: &Key, related: &mut Related<Key, u64>) {
        if let Key::User(id) = key {
            related.invalidate(Key::Profile(*id));
        }
    }
    let cache: Cache<Key, u64> = Cache::builder().related(relate).build();
    cache.insert(Key::User(1), 1);

    struct Service {
        users: Cache<Key, u64>,
    }
    let service = Service {
        users: Cache::<Key, _>::builder().related(|key, _| assert_ne!(*key, Key::User(9))).build(),
    };
    service.users.insert(Key::User(1), 1);
}
