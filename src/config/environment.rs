//! What the program that started the process says in the environment: a service manager of its sockets, an
//! engine of a job's shard. It must not know the configuration file.
//! It promises that what is incomplete or contradictory is refused.

pub(super) mod engine;
pub(super) mod service_manager;
