//! Tells a process from its forks.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use super::{exit_now, wiped_on_fork};

/// An identity that distinguishes a process from its forks: a forked child sees another mark than its parent.
///
/// Comparing marks takes no system call. The kernel clears the page that holds the mark whenever it copies
/// the memory of the process, by whatever means, but not for new threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u64);

/// The page with the mark of this process, once it has one.
static MARK: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// Cleared once the kernel has refused to clear the page on fork.
static WIPES_ON_FORK: AtomicBool = AtomicBool::new(true);

/// The last mark that this process or one of its ancestors has taken. A child continues counting from the
/// marks of its ancestors, so it never shares a mark with an object that it inherits.
static LAST_MARK: AtomicU64 = AtomicU64::new(0);

impl Mark {
    /// Returns the mark of this process.
    #[inline]
    pub(crate) fn current() -> Self {
        let page = MARK.load(Ordering::Acquire);
        // SAFETY: only `renew` stores a pointer, to a page that is never unmapped and that starts with a
        // number that is only accessed atomically.
        if let Some(page) = unsafe { page.as_ref() } {
            let mark = page.load(Ordering::Relaxed);
            if mark != 0 {
                return Self(mark);
            }
        }
        Self::renew()
    }

    /// Returns whether this is the mark of the calling process.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }

    /// Takes a mark for a process that has none. Takes no lock and allocates nothing on the heap, because it
    /// may run in a signal handler, or in a child whose other threads are gone.
    #[cold]
    fn renew() -> Self {
        if !WIPES_ON_FORK.load(Ordering::Relaxed) {
            return Self::of_pid();
        }
        let mut page = MARK.load(Ordering::Acquire);
        if page.is_null() {
            let Some(new) = wiped_on_fork() else {
                WIPES_ON_FORK.store(false, Ordering::Relaxed);
                return Self::of_pid();
            };
            let exchanged =
                MARK.compare_exchange(page, new.as_ptr(), Ordering::AcqRel, Ordering::Acquire);
            // If another thread was first, this page stays mapped and unused.
            page = exchanged.map_or_else(|first| first, |_| new.as_ptr());
        }
        // SAFETY: as in `current`; the pointer is not null.
        let page = unsafe { &*page };
        let new = LAST_MARK.fetch_add(1, Ordering::Relaxed) + 1;
        match page.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Self(new),
            Err(first) => Self(first),
        }
    }

    /// Returns a replacement for the page where the kernel cannot clear pages: a count combined with the pid
    /// that it is for.
    fn of_pid() -> Self {
        let pid = u64::from(std::process::id());
        let mark = LAST_MARK.load(Ordering::Relaxed);
        if mark & u64::from(u32::MAX) == pid {
            return Self(mark);
        }
        let new = (((mark >> 32) + 1) << 32) | pid;
        match LAST_MARK.compare_exchange(mark, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Self(new),
            Err(first) => Self(first),
        }
    }
}

/// A static with a separate value in each process: a forked child does not see its parent's value, so it
/// never waits for a lock that was held by a thread which does not exist in the child.
///
/// Values are never dropped. A child leaks those of its parent.
pub(crate) struct PerProcess<T: 'static>(AtomicPtr<Marked<T>>);

struct Marked<T> {
    mark: Mark,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Returns the value, if this process has set one.
    #[inline]
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: only `get_or_init` stores pointers, to values that are never dropped. The bound on `T`
        // allows the value to be shared between threads.
        let found = unsafe { self.0.load(Ordering::Acquire).as_ref() }?;
        found.mark.is_current().then_some(&found.value)
    }

    /// Returns the value and creates it if there is none. If several threads arrive at once, each may create
    /// one and only the first is kept, so `make` must be cheap and free of side effects.
    #[inline]
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &'static T {
        match self.get() {
            Some(value) => value,
            None => self.init(make()),
        }
    }

    #[cold]
    fn init(&self, value: T) -> &'static T {
        let mark = Mark::current();
        let new = Box::into_raw(Box::new(Marked { mark, value }));
        let mut found = self.0.load(Ordering::Acquire);
        loop {
            // SAFETY: as in `get`.
            if let Some(first) = unsafe { found.as_ref() }
                && first.mark == mark
            {
                // SAFETY: the pointer is from `into_raw` and was not shared.
                drop(unsafe { Box::from_raw(new) });
                return &first.value;
            }
            match self
                .0
                .compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire)
            {
                // SAFETY: from here on the value is shared and never dropped.
                Ok(_) => return unsafe { &(*new).value },
                Err(other) => found = other,
            }
        }
    }
}

/// Ends a process that is not the worker: a child that a function has forked and that has returned from the
/// function. The child must not touch the connection, and ends without writing what the worker has left in
/// its buffers.
#[inline]
pub(crate) fn exit_if_forked(worker: Mark, code: i32) {
    if !worker.is_current() {
        exit_now(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_of_a_process_have_one_mark() {
        let mark = Mark::current();
        let others: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(Mark::current))
            .map(|thread| thread.join().unwrap())
            .collect();
        assert!(others.into_iter().all(|other| other == mark));
        assert!(mark.is_current());
    }

    #[test]
    fn a_value_is_made_once_for_all_threads() {
        static VALUE: PerProcess<u32> = PerProcess::new();
        assert_eq!(VALUE.get(), None);
        let threads: Vec<_> = (0..8)
            .map(|number| std::thread::spawn(move || VALUE.get_or_init(|| number)))
            .collect();
        let first = VALUE.get_or_init(|| 9);
        for thread in threads {
            assert!(ptr::eq(thread.join().unwrap(), first));
        }
    }
}
