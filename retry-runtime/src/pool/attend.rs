//! Looking for answers, on whichever thread waits for one.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::peer::{Inlet, Peer};
use crate::engine::Engine;
use crate::spin::{Patience, Spin};

/// How often a caller tries to take over from a thread that looks already.
const TRIES: u32 = 64;

/// How often a thread that leaves takes in what has come in the meantime.
const LAST_LOOKS: u32 = 4;

/// Looks for answers of workers, and delivers them, until there are `enough` or the patience is
/// over. Meanwhile these workers wake nobody; afterwards they wake the I/O thread. Workers that
/// others look after are left to those.
pub(crate) fn attend(
    engine: &Engine,
    inlets: &[Arc<Inlet>],
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) {
    let attended = inlets
        .iter()
        .filter_map(|inlet| Some((inlet, take_over(inlet)?)))
        .collect();
    for inlet in attend_to(engine, attended, spin, enough) {
        engine.inbox().hand_over(inlet);
    }
}

/// The same for workers that have woken this thread: nobody else will hear of that, so that it
/// takes over from whoever looks after them. Returns those that still have something to say.
pub(super) fn attend_all(
    engine: &Engine,
    inlets: &[Arc<Inlet>],
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) -> Vec<Arc<Inlet>> {
    let attended = inlets.iter().map(|inlet| (inlet, inlet.peer())).collect();
    attend_to(engine, attended, spin, enough)
}

fn attend_to(
    engine: &Engine,
    mut attended: Vec<(&Arc<Inlet>, MutexGuard<'_, Peer>)>,
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) -> Vec<Arc<Inlet>> {
    for (_, peer) in &attended {
        peer.is_looked_after();
    }
    // Where there is nobody to look after this only waits.
    loop {
        let mut found = false;
        for (inlet, peer) in &mut attended {
            found |= peer.look(engine, &inlet.socket);
        }
        if enough() || attended.iter().any(|(inlet, _)| inlet.is_wanted()) {
            break;
        }
        if found {
            spin.found();
        } else if !spin.goes_on() {
            break;
        }
    }
    attended
        .iter_mut()
        .filter_map(|(inlet, peer)| (!leave(engine, inlet, peer)).then(|| Arc::clone(inlet)))
        .collect()
}

/// Leaves a worker alone. False if it says more and more: then somebody else is to look after it.
fn leave(engine: &Engine, inlet: &Inlet, peer: &mut Peer) -> bool {
    (0..LAST_LOOKS).any(|_| {
        // To who sleeps there, if anybody does.
        let alone = if inlet.has_guest() {
            peer.is_done() || peer.is_slept_at()
        } else {
            peer.is_left_alone()
        };
        if !alone {
            peer.look(engine, &inlet.socket);
        }
        alone
    })
}

/// How long a thread sleeps at a worker's ring before it looks again whether it has to: what
/// stands there is no more to be trusted than anything else that a worker writes.
const NAP: Duration = Duration::from_millis(100);

/// Sleeps until a worker answers, and delivers that, until this thread is woken, the time has come
/// or the worker has ended. Nobody else is woken for the answers. Returns at once if another
/// thread sleeps there. True if the worker has ended. One that has come in the place of another is
/// looked at for a moment first: it may be about to answer.
pub(crate) fn rest(
    engine: &Engine,
    inlet: &Arc<Inlet>,
    until: Option<Instant>,
    sleeper: &dyn Sleeper,
    mut replaces: bool,
) -> bool {
    if !inlet.takes_in_guest() {
        return false;
    }
    sleeper.goes_to_bed(Some(Arc::clone(inlet)));
    let has_ended = loop {
        let mut peer = inlet.peer();
        peer.is_looked_after();
        let found = peer.look(engine, &inlet.socket);
        if (found | std::mem::take(&mut replaces)) && peer.is_new() {
            // What comes first comes in quick succession: hello, ready, and the first answer.
            let mut spin = Patience::new().spin();
            while !sleeper.is_woken() && !inlet.is_wanted() {
                if peer.look(engine, &inlet.socket) {
                    spin.found();
                } else if !spin.goes_on() {
                    break;
                }
            }
        }
        let now = Instant::now();
        let late = until.is_some_and(|until| until <= now);
        if late || sleeper.is_woken() || peer.is_done() {
            // Before it is left, since who leaves it after that is not to think that somebody sleeps.
            inlet.lets_guest_go();
            if !leave(engine, inlet, &mut peer) {
                engine.inbox().hand_over(Arc::clone(inlet));
            }
            break peer.is_buried();
        }
        if !peer.is_slept_at() {
            continue;
        }
        drop(peer);
        // Who wakes this thread after this look also rouses it from the bed.
        if !sleeper.is_woken() {
            let nap = until.map_or(NAP, |until| until.saturating_duration_since(now).min(NAP));
            inlet.bed.sleep(Some(nap));
        }
    };
    sleeper.goes_to_bed(None);
    has_ended
}

/// A thread that sleeps at a worker's ring.
pub(crate) trait Sleeper {
    /// Says where it sleeps, for those who wake it.
    fn goes_to_bed(&self, inlet: Option<Arc<Inlet>>);

    /// Whether it was woken.
    fn is_woken(&self) -> bool;
}

fn take_over(inlet: &Inlet) -> Option<MutexGuard<'_, Peer>> {
    if let Some(peer) = inlet.try_peer() {
        return Some(peer);
    }
    let _wanted = inlet.want();
    (0..TRIES).find_map(|_| {
        std::hint::spin_loop();
        inlet.try_peer()
    })
}
