//! Ctrl-Z: suspends the workers of all engines of this process together with the process itself.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use super::LocalEngine;
use super::core::Core;
use crate::sys::PerProcess;

/// The engines of this process. A forked child has none of its parent's.
static ENGINES: PerProcess<Mutex<Vec<Weak<LocalEngine>>>> = PerProcess::new();

impl LocalEngine {
    /// Makes [`suspend_all`](Self::suspend_all) know this engine.
    pub(super) fn register(self: &Arc<Self>) {
        let engines = ENGINES.get_or_init(Mutex::default);
        let mut engines = engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.retain(|engine| engine.strong_count() > 0);
        engines.push(Arc::downgrade(self));
    }

    /// Suspends the workers of all engines of this process, calls `suspend`, which suspends the process and
    /// returns once it continues, and then lets the workers continue. The clocks of the engines stand still
    /// meanwhile.
    ///
    /// All threads continue before this one can set the clocks. So it keeps the engines' locks until then: a
    /// thread that reads a clock or delivers an answer waits. The locks also keep the workers that are
    /// suspended and those that are resumed the same.
    pub(crate) fn suspend_all(suspend: impl FnOnce()) {
        let registered = ENGINES.get_or_init(Mutex::default);
        // Kept locked, so that no engine is added meanwhile.
        let registered = registered.lock().unwrap_or_else(PoisonError::into_inner);
        let engines: Vec<_> = registered.iter().filter_map(Weak::upgrade).collect();
        // A start that is under way takes the lock of its engine at its end, so wait for it before.
        for engine in &engines {
            engine.backend.hold_starts();
        }
        let mut cores: Vec<_> = engines.iter().map(|engine| engine.lock()).collect();
        let begun = Instant::now();
        for (engine, core) in engines.iter().zip(&mut cores) {
            core.suspend();
            engine.backend.suspend();
        }
        suspend();
        let ended = Instant::now();
        for (engine, core) in engines.iter().zip(&mut cores) {
            core.resume(begun, ended);
            engine.backend.resume();
        }
    }
}

impl Core {
    fn suspend(&mut self) {
        for link in self.links.values_mut() {
            link.suspend();
        }
    }

    fn resume(&mut self, begun: Instant, ended: Instant) {
        self.clock.suspend(begun, ended);
        let suspended = self.clock.suspended();
        for link in self.links.values_mut() {
            link.set_suspended(suspended);
            link.resume();
        }
    }
}
