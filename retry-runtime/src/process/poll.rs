//! The poll loop: looks for the answers of workers, on whichever thread waits for one. `wait/README.md`
//! describes the states of a waiting thread and of the ring that it parks at.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::Pool;
use super::connection::WorkerConnection;
use super::receive::ReceiveSide;
use crate::wait::spin::{Patience, Spin};
use crate::wait::{AnswerSource, Waiter, is_over};

/// The number of times that a waiting thread tries to lock a receive side that another thread polls.
const TRIES: u32 = 64;

/// The number of times that a thread that stops polling takes in what has arrived in the meantime.
const LAST_LOOKS: u32 = 4;

/// The time for which a thread parks at a ring before it checks its own condition again. The ring's memory is
/// written by the worker, so a wake-up from there cannot be relied on alone.
const LONGEST_PARK: Duration = Duration::from_millis(100);

/// A worker that this thread polls.
type Polled<'a> = (&'a Arc<WorkerConnection>, MutexGuard<'a, ReceiveSide>);

/// Polls workers until there are `enough` answers or the patience is over. Workers need not ring for answers
/// meanwhile; afterwards they ring the I/O thread. Workers that another thread polls are left to it.
pub(super) fn poll_answers(
    pool: Pool<'_>,
    connections: &[Arc<WorkerConnection>],
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) {
    let mut polled: Vec<_> = connections.iter().filter_map(try_poll).collect();
    let found = poll_loop(pool, &mut polled, spin, false, enough);
    for connection in leave_all(pool, &mut polled, found) {
        pool.inbox().hand_over(connection);
    }
}

/// Polls workers that have rung for the I/O thread. No other thread hears of their answers, so this waits
/// for the threads that poll them. Returns the workers that keep sending.
pub(super) fn poll_rung(
    pool: Pool<'_>,
    connections: &[Arc<WorkerConnection>],
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) -> Vec<Arc<WorkerConnection>> {
    let mut polled: Vec<_> = connections
        .iter()
        .map(|connection| (connection, connection.receiver()))
        .collect();
    let found = poll_loop(pool, &mut polled, spin, false, enough);
    leave_all(pool, &mut polled, found)
}

/// Polls a worker as long as there is patience, then parks at its ring until it answers, and takes the answer
/// in: until this thread is woken, the time has come or the worker has ended. No other thread is woken for
/// the answers. Where another thread is registered at the ring, or where there is no ring, this only polls.
/// Returns whether the worker has ended.
pub(super) fn park(
    pool: Pool<'_>,
    connection: &Arc<WorkerConnection>,
    until: Option<Instant>,
    waiter: &dyn Waiter,
    spin: &mut Spin,
) -> bool {
    let mut is_over = || is_over(waiter, until);
    let end = connection.end.as_ref();
    let Some(end) = end.filter(|_| connection.try_register_waiter()) else {
        let connections = std::slice::from_ref(connection);
        poll_answers(pool, connections, spin, &mut is_over);
        return false;
    };
    let mut is_parked_here = false;
    let has_ended = loop {
        let mut polled = [(connection, connection.receiver())];
        poll_loop(pool, &mut polled, spin, true, &mut is_over);
        let [(_, mut receiver)] = polled;
        if is_over() || receiver.is_done() {
            // Unregister first: the next thread to hold the receive side must not see a stale waiter.
            connection.unregister_waiter();
            if !leave(pool, connection, &mut receiver, false) {
                pool.inbox().hand_over(Arc::clone(connection));
            }
            break receiver.is_reaped();
        }
        if !std::mem::replace(&mut is_parked_here, true) {
            waiter.set_parked_at(Some(Arc::clone(connection) as Arc<dyn AnswerSource>));
        }
        if !receiver.try_arm_to_park() {
            continue;
        }
        drop(receiver);
        // A thread that wakes this one after this check also unparks it from the ring.
        if !waiter.is_woken() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            end.park(Some(
                left.map_or(LONGEST_PARK, |left| left.min(LONGEST_PARK)),
            ));
        }
    };
    if is_parked_here {
        waiter.set_parked_at(None);
    }
    has_ended
}

/// Looks for answers of the workers and sends on what waits for room: until there are `enough`, another
/// thread wants one of them, nothing more can come, or the patience is over. Without workers this only
/// waits. Returns whether anything was found.
///
/// Where `renews` is set, the first messages of a new worker renew the patience: hello, ready and the first
/// answer come in quick succession.
fn poll_loop(
    pool: Pool<'_>,
    polled: &mut [Polled<'_>],
    spin: &mut Spin,
    renews: bool,
    enough: &mut dyn FnMut() -> bool,
) -> bool {
    for (_, receiver) in &*polled {
        receiver.begin_poll();
    }
    let mut found_any = false;
    loop {
        let (mut found, mut is_within_large) = (false, false);
        for (connection, receiver) in &mut *polled {
            found |= receiver.look(pool, &connection.socket) | connection.send_on(pool);
            is_within_large |= receiver.is_within_large(connection);
        }
        found_any |= found;
        let mut connections = polled.iter().map(|(connection, _)| connection);
        let is_wanted = connections.any(|connection| connection.is_wanted());
        let is_done = !polled.is_empty() && polled.iter().all(|(_, receiver)| receiver.is_done());
        if enough() || is_wanted || is_done {
            return found_any;
        }
        if found && renews && polled.iter().any(|(_, receiver)| receiver.is_new()) {
            *spin = Patience::new().spin();
        } else if found && is_within_large {
            spin.found_part();
        } else if found {
            spin.found();
        } else if !spin.goes_on() {
            return found_any;
        }
    }
}

/// Stops polling workers. Returns those that keep sending.
fn leave_all(pool: Pool<'_>, polled: &mut [Polled<'_>], found: bool) -> Vec<Arc<WorkerConnection>> {
    polled
        .iter_mut()
        .filter_map(|(connection, receiver)| {
            let has_left = leave(pool, connection, receiver, found);
            (!has_left).then(|| Arc::clone(connection))
        })
        .collect()
}

/// Stops polling a worker, given whether anything was found there, and arms the wake-up of the thread that
/// hears of its next answer: the one that is registered at the ring, else the I/O thread. Returns false if
/// the worker keeps sending: then another thread has to poll it.
fn leave(
    pool: Pool<'_>,
    connection: &WorkerConnection,
    receiver: &mut ReceiveSide,
    mut found: bool,
) -> bool {
    (0..LAST_LOOKS).any(|_| {
        let has_waiter = connection.has_waiter();
        let is_armed = if has_waiter {
            receiver.is_done() || receiver.try_arm_to_park()
        } else {
            receiver.try_arm_bell()
        };
        if !is_armed {
            found |= receiver.look(pool, &connection.socket);
        } else if has_waiter && found {
            // The waiter's answer may be among those just delivered. That unpark can race with re-arming
            // the wake-up flag, so unpark again.
            connection.unpark();
        }
        is_armed
    })
}

/// Locks the receive side of a worker, unless another thread keeps polling it.
fn try_poll(connection: &Arc<WorkerConnection>) -> Option<Polled<'_>> {
    if let Some(receiver) = connection.try_receiver() {
        return Some((connection, receiver));
    }
    let _wanted = connection.want();
    (0..TRIES).find_map(|_| {
        std::hint::spin_loop();
        Some((connection, connection.try_receiver()?))
    })
}
