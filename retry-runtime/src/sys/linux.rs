//! Wraps what the runtime needs of Linux.

pub(crate) mod attributes;
mod bell;
pub(crate) mod children;
mod clock;
pub(crate) mod control_group;
mod exit;
pub(crate) mod group;
mod io;
mod limits;
pub(crate) mod lineage;
pub(crate) mod memory;
mod pages;
mod sealed;
mod shared_memory;
pub(crate) mod signals;
mod spawn;
mod staging;
pub(crate) mod terminal;

pub(crate) use std::os::fd::OwnedFd;

pub(crate) use bell::Bell;
pub(crate) use children::pid;
pub(crate) use clock::{boot_nanos, coarse_nanos, monotonic_nanos, suspended, ticks, timespec};
pub(crate) use exit::{at_exit, buffer_c_stdout_by_line, exit_now, fail_at_exit, flush_c_stdout};
pub(crate) use io::{maker_of, read_into, receive_into, receive_with_file, wait_for_events};
pub(crate) use limits::{host_name, is_for_want_of_resources, main_stack_size};
pub(crate) use pages::{advise_large_pages, wiped_on_fork};
pub(crate) use sealed::{Charge, SealedMemory};
pub(crate) use shared_memory::{SharedMemory, load};
pub(crate) use spawn::{Program, program_headers, spawn};
pub(crate) use staging::{StagedMemory, StagingBuffer};
