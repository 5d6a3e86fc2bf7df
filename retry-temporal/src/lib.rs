//! Runs the calls of a program on many machines, through [Temporal](https://temporal.io).
//!
//! This crate is an engine for [`retry_runtime`], on Temporal's standalone activities. It needs a server of version
//! 1.32 or newer.
//!
//! # Use
//!
//! A program that depends on this crate names it once, in `main.rs`, since an unnamed crate is not linked:
//!
//! ```
//! use retry_temporal as _;
//! ```
//!
//! Everything else is said by the environment of the same program:
//!
//! ```text
//! RETRY_ENGINE=temporal://queue.example:7233/default RETRY_SERVE=all ./resize     on each machine: an agent
//! RETRY_ENGINE=temporal://queue.example:7233/default ./resize photos/             the program itself
//! ```
//!
//! The address is `temporal://HOST:PORT/NAMESPACE`. The port is 7233 if it is left out. Other parts that are left out
//! come from the configuration of Temporal's own clients, so `temporal://` alone is an address, too.
//!
//! | variable | meaning |
//! |---|---|
//! | `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE` | what the address leaves out; `localhost:7233` and `default` otherwise |
//! | `TEMPORAL_API_KEY` | the key, with which TLS is used |
//! | `TEMPORAL_TLS`, `TEMPORAL_TLS_*` | certificates and keys, such as `TEMPORAL_TLS_SERVER_CA_CERT_PATH` |
//! | `TEMPORAL_CONFIG_FILE`, `TEMPORAL_PROFILE` | the file, `temporal.toml`, and the profile in it that has them instead |
//!
//! # What a task is at the server
//!
//! A task is one activity. Its type is the name of the function, its summary says which calls it holds, and its queue
//! is the name of the function with the version of the program. Its input, its result and the details of its
//! heartbeats are bytes that only the same program reads, with the encoding `binary/retry`. Names, ids and sizes can
//! be seen by everyone who may see activities.
//!
//! An activity has 30 days to end, from the end of its delay, unless its call has a deadline.
//!
//! The server starts an activity again as often as is needed: the machine that gets it decides whether it runs. A
//! retry that is due later is an attempt that has failed with the type `HandedBack`.
//!
//! Each machine also polls a queue that has the name of the function alone, which never has a task: who polls it
//! serves the function, also while there is no room for tasks. Machines count as long as they have polled within
//! 70 s, by the clock of the caller, which should not differ from that of the server by more than some seconds.
//!
//! # When the caller is away
//!
//! A program with calls under way for more than 5 s polls a queue that is named after its run, and each activity of a
//! call that was not spawned names this queue in its header. A machine that has such an activity for more than 10 s asks
//! the server every 8 s when the queue was last polled. If that has not changed for 72 s, the program is gone: the
//! machine ends the activity as one that has failed with the type `CallerGone`. It compares no clocks of different
//! machines. An activity that has waited for more than 10 s begins once its caller was seen. One that no machine has
//! stays at the server until a machine takes it, and does not begin then.
//!
//! The program and the machines need the permissions to poll task queues, to describe them and to list their partitions.
//! Machines that may not ask let calls run to their end.
//!
//! # When the server is away
//!
//! A program that has never reached the server fails its calls within 10 s, with the reason. Later a server that is
//! away costs only time: callers wait, running calls go on, and their answers are sent as long as the machine may
//! have its task. Agents always wait.
//!
//! An agent that drains waits for the ends of its polls, which come within 6 s. If it left them, the server might be
//! about to answer one with a task, which would begin elsewhere only after `RETRY_HOST_TIMEOUT`.
//!
//! # What is not there yet
//!
//! Bodies are not encrypted by this crate, and inputs and results of more than 1.7 MB do not travel.

mod agent;
mod backoff;
mod engine;
mod presence;
mod runtime;
mod service;

use retry_runtime::engine::Scheme;

retry_runtime::register_engine!(Scheme::new("temporal", engine::connect, agent::serve));
