//! The models live in `tests/`, one file a claim. Run them with `ci/loom.sh`.
