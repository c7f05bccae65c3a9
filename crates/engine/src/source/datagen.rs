//! Owned by its connector; see [`super::Source`].
