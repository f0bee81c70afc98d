//! The database behind plain functions: PostgreSQL and SQLite, audit chain, job queue.
//!
//! Must not know: HTTP, Kubernetes.
