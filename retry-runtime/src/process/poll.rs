//! Looking for answers, on whichever thread waits for one.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::Pool;
use super::connection::WorkerConnection;
use super::receive::ReceiveSide;
use crate::wait::spin::{Patience, Spin};
use crate::wait::{AnswerSource, Waiter};

/// How often a caller tries to take over from a thread that looks already.
const TRIES: u32 = 64;

/// How often a thread that leaves takes in what has come in the meantime.
const LAST_LOOKS: u32 = 4;

/// Looks for answers of workers, delivers them, and sends on what waits for room, until there are
/// `enough` answers or the patience is over. Meanwhile nobody is woken for answers; afterwards the
/// I/O thread is. Workers that others look after are left to those.
pub(crate) fn attend(
    pool: Pool<'_>,
    connections: &[Arc<WorkerConnection>],
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) {
    let mut attended: Vec<_> = connections.iter().filter_map(take_over).collect();
    for connection in attend_to(pool, &mut attended, spin, enough) {
        pool.inbox().hand_over(connection);
    }
}

/// A worker that is looked after.
type Attended<'a> = (&'a Arc<WorkerConnection>, MutexGuard<'a, ReceiveSide>);

/// The same for workers that have woken this thread: nobody else will hear of that, so that it
/// takes over from whoever looks after them. Returns those that still have something to say.
pub(super) fn attend_all(
    pool: Pool<'_>,
    connections: &[Arc<WorkerConnection>],
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) -> Vec<Arc<WorkerConnection>> {
    let mut attended: Vec<_> = connections
        .iter()
        .map(|connection| (connection, connection.receiver()))
        .collect();
    attend_to(pool, &mut attended, spin, enough)
}

fn attend_to(
    pool: Pool<'_>,
    attended: &mut [Attended<'_>],
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) -> Vec<Arc<WorkerConnection>> {
    for (_, receiver) in &*attended {
        receiver.begin_poll();
    }
    let mut ever = false;
    // Where there is nobody to look after this only waits.
    loop {
        let (mut found, mut part) = (false, false);
        for (connection, receiver) in &mut *attended {
            found |= receiver.look(pool, &connection.socket) | connection.sends_on(pool);
            part |= receiver.is_within_large(connection);
        }
        ever |= found;
        if enough()
            || attended
                .iter()
                .any(|(connection, _)| connection.is_wanted())
        {
            break;
        }
        if found && part {
            spin.found_part();
        } else if found {
            spin.found();
        } else if !spin.goes_on() {
            break;
        }
    }
    attended
        .iter_mut()
        .filter_map(|(connection, receiver)| {
            let left = leave(pool, connection, receiver, ever);
            (!left).then(|| Arc::clone(connection))
        })
        .collect()
}

/// Leaves a worker alone, given whether anything was found there. False if it says more and more: then
/// somebody else is to look after it.
fn leave(
    pool: Pool<'_>,
    connection: &WorkerConnection,
    receiver: &mut ReceiveSide,
    mut found: bool,
) -> bool {
    (0..LAST_LOOKS).any(|_| {
        // To who sleeps there, if anybody does.
        let has_waiter = connection.has_waiter();
        let alone = if has_waiter {
            receiver.is_done() || receiver.try_arm_parker()
        } else {
            receiver.try_arm_bell()
        };
        if !alone {
            found |= receiver.look(pool, &connection.socket);
        } else if has_waiter && found {
            // Its answer may have been there. Whoever delivered it roused it, but that was before this
            // said again that it sleeps, and it may not have been asleep yet.
            connection.unpark();
        }
        alone
    })
}

/// How long a thread sleeps at a worker's ring before it looks again whether it has to: what
/// stands there is no more to be trusted than anything else that a worker writes.
const NAP: Duration = Duration::from_millis(100);

/// Looks for a worker's answers as long as there is patience, then sleeps until it answers, and
/// delivers that: until this thread is woken, the time has come or the worker has ended. Nobody
/// else is woken for the answers. Only looks if another thread sleeps there, or if nobody can. True
/// if the worker has ended.
pub(crate) fn rest(
    pool: Pool<'_>,
    connection: &Arc<WorkerConnection>,
    until: Option<Instant>,
    waiter: &dyn Waiter,
    spin: &mut Spin,
) -> bool {
    let late = || until.is_some_and(|until| until <= Instant::now());
    let Some(parker) = connection
        .parker
        .as_ref()
        .filter(|_| connection.try_register_waiter())
    else {
        let connections = std::slice::from_ref(connection);
        attend(pool, connections, spin, &mut || waiter.is_woken() || late());
        return false;
    };
    let mut in_bed = false;
    let has_ended = loop {
        let mut receiver = connection.receiver();
        receiver.begin_poll();
        loop {
            let found = receiver.look(pool, &connection.socket) | connection.sends_on(pool);
            if waiter.is_woken() || connection.is_wanted() || receiver.is_done() || late() {
                break;
            }
            if found && receiver.is_new() {
                // What comes first comes in quick succession: hello, ready, and the first answer.
                *spin = Patience::new().spin();
            } else if found && receiver.is_within_large(connection) {
                spin.found_part();
            } else if found {
                spin.found();
            } else if !spin.goes_on() {
                break;
            }
        }
        if late() || waiter.is_woken() || receiver.is_done() {
            // Before it is left, since who leaves it after that is not to think that somebody sleeps.
            connection.unregister_waiter();
            if !leave(pool, connection, &mut receiver, false) {
                pool.inbox().hand_over(Arc::clone(connection));
            }
            break receiver.is_buried();
        }
        if !std::mem::replace(&mut in_bed, true) {
            waiter.parks_at(Some(Arc::clone(connection) as Arc<dyn AnswerSource>));
        }
        if !receiver.try_arm_parker() {
            continue;
        }
        drop(receiver);
        // Who wakes this thread after this look also rouses it from the bed.
        if !waiter.is_woken() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            parker.sleep(Some(left.map_or(NAP, |left| left.min(NAP))));
        }
    };
    if in_bed {
        waiter.parks_at(None);
    }
    has_ended
}

fn take_over(connection: &Arc<WorkerConnection>) -> Option<Attended<'_>> {
    if let Some(receiver) = connection.try_receiver() {
        return Some((connection, receiver));
    }
    let _wanted = connection.want();
    (0..TRIES).find_map(|_| {
        std::hint::spin_loop();
        Some((connection, connection.try_receiver()?))
    })
}
