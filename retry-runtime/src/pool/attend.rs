//! Looking for answers, on whichever thread waits for one.

use std::sync::{Arc, MutexGuard};

use super::peer::{Inlet, Peer};
use crate::engine::Engine;
use crate::spin::Spin;

/// How often a caller tries to take over from a thread that looks already.
const TRIES: u32 = 64;

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
        .filter_map(|inlet| Some((&**inlet, take_over(inlet)?)))
        .collect();
    attend_to(engine, attended, spin, enough);
}

/// The same for workers that have woken this thread: nobody else will hear of that, so that it
/// takes over from whoever looks after them.
pub(super) fn attend_all(
    engine: &Engine,
    inlets: &[Arc<Inlet>],
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) {
    let attended = inlets
        .iter()
        .map(|inlet| (&**inlet, inlet.peer()))
        .collect();
    attend_to(engine, attended, spin, enough);
}

fn attend_to(
    engine: &Engine,
    mut attended: Vec<(&Inlet, MutexGuard<'_, Peer>)>,
    spin: &mut Spin,
    enough: &mut dyn FnMut() -> bool,
) {
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
    for (inlet, peer) in &mut attended {
        while !peer.is_left_alone() {
            peer.look(engine, &inlet.socket);
        }
    }
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
