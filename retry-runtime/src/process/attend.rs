//! Looking for answers, on whichever thread waits for one.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::Pool;
use super::peer::{Inlet, Peer};
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
    inlets: &[Arc<Inlet>],
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) {
    let mut attended: Vec<_> = inlets.iter().filter_map(take_over).collect();
    for inlet in attend_to(pool, &mut attended, spin, enough) {
        pool.inbox().hand_over(inlet);
    }
}

/// A worker that is looked after.
type Attended<'a> = (&'a Arc<Inlet>, MutexGuard<'a, Peer>);

/// The same for workers that have woken this thread: nobody else will hear of that, so that it
/// takes over from whoever looks after them. Returns those that still have something to say.
pub(super) fn attend_all(
    pool: Pool<'_>,
    inlets: &[Arc<Inlet>],
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) -> Vec<Arc<Inlet>> {
    let mut attended: Vec<_> = inlets.iter().map(|inlet| (inlet, inlet.peer())).collect();
    attend_to(pool, &mut attended, spin, enough)
}

fn attend_to(
    pool: Pool<'_>,
    attended: &mut [Attended<'_>],
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) -> Vec<Arc<Inlet>> {
    for (_, peer) in &*attended {
        peer.is_looked_after();
    }
    let mut ever = false;
    // Where there is nobody to look after this only waits.
    loop {
        let (mut found, mut part) = (false, false);
        for (inlet, peer) in &mut *attended {
            found |= peer.look(pool, &inlet.socket) | inlet.sends_on(pool);
            part |= peer.is_within_large(inlet);
        }
        ever |= found;
        if enough() || attended.iter().any(|(inlet, _)| inlet.is_wanted()) {
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
        .filter_map(|(inlet, peer)| {
            let left = leave(pool, inlet, peer, ever);
            (!left).then(|| Arc::clone(inlet))
        })
        .collect()
}

/// Leaves a worker alone, given whether anything was found there. False if it says more and more: then
/// somebody else is to look after it.
fn leave(pool: Pool<'_>, inlet: &Inlet, peer: &mut Peer, mut found: bool) -> bool {
    (0..LAST_LOOKS).any(|_| {
        // To who sleeps there, if anybody does.
        let has_guest = inlet.has_guest();
        let alone = if has_guest {
            peer.is_done() || peer.is_slept_at()
        } else {
            peer.is_left_alone()
        };
        if !alone {
            found |= peer.look(pool, &inlet.socket);
        } else if has_guest && found {
            // Its answer may have been there. Whoever delivered it roused it, but that was before this
            // said again that it sleeps, and it may not have been asleep yet.
            inlet.unpark();
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
    inlet: &Arc<Inlet>,
    until: Option<Instant>,
    waiter: &dyn Waiter,
    spin: &mut Spin,
) -> bool {
    let late = || until.is_some_and(|until| until <= Instant::now());
    let Some(bed) = inlet.bed.as_ref().filter(|_| inlet.takes_in_guest()) else {
        let inlets = std::slice::from_ref(inlet);
        attend(pool, inlets, spin, &mut || waiter.is_woken() || late());
        return false;
    };
    let mut in_bed = false;
    let has_ended = loop {
        let mut peer = inlet.peer();
        peer.is_looked_after();
        loop {
            let found = peer.look(pool, &inlet.socket) | inlet.sends_on(pool);
            if waiter.is_woken() || inlet.is_wanted() || peer.is_done() || late() {
                break;
            }
            if found && peer.is_new() {
                // What comes first comes in quick succession: hello, ready, and the first answer.
                *spin = Patience::new().spin();
            } else if found && peer.is_within_large(inlet) {
                spin.found_part();
            } else if found {
                spin.found();
            } else if !spin.goes_on() {
                break;
            }
        }
        if late() || waiter.is_woken() || peer.is_done() {
            // Before it is left, since who leaves it after that is not to think that somebody sleeps.
            inlet.lets_guest_go();
            if !leave(pool, inlet, &mut peer, false) {
                pool.inbox().hand_over(Arc::clone(inlet));
            }
            break peer.is_buried();
        }
        if !std::mem::replace(&mut in_bed, true) {
            waiter.parks_at(Some(Arc::clone(inlet) as Arc<dyn AnswerSource>));
        }
        if !peer.is_slept_at() {
            continue;
        }
        drop(peer);
        // Who wakes this thread after this look also rouses it from the bed.
        if !waiter.is_woken() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            bed.sleep(Some(left.map_or(NAP, |left| left.min(NAP))));
        }
    };
    if in_bed {
        waiter.parks_at(None);
    }
    has_ended
}

fn take_over(inlet: &Arc<Inlet>) -> Option<Attended<'_>> {
    if let Some(peer) = inlet.try_peer() {
        return Some((inlet, peer));
    }
    let _wanted = inlet.want();
    (0..TRIES).find_map(|_| {
        std::hint::spin_loop();
        Some((inlet, inlet.try_peer()?))
    })
}
