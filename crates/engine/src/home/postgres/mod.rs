//! PostgreSQL as a home.
