//! SQLite as a home.
