//! Processes that leave the group of the worker that started them.
