//! Ends the run when a call or a driver hangs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::run::World;
use crate::stubs::Pool;
use crate::{ledger, system};

/// Time limit for a call: longer than all limits, delays and phases together.
const CALL: Duration = Duration::from_secs(75);

/// Time limit for a group of calls that a driver makes together.
const SCENARIO: Duration = Duration::from_secs(150);

/// Number of overdue calls that are described.
const SHOWN: usize = 5;

/// The current activities of the drivers.
#[derive(Default)]
pub struct Watch(Mutex<BTreeMap<usize, (&'static str, Pool, Instant)>>);

impl Watch {
    pub fn begin(&self, driver: usize, what: &'static str, pool: Pool) {
        let mut drivers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drivers.insert(driver, (what, pool, Instant::now()));
    }

    pub fn end(&self, driver: usize) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&driver);
    }

    fn describe(&self) -> Vec<(usize, &'static str, Pool, Duration)> {
        let drivers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let described = drivers
            .iter()
            .map(|(driver, (what, pool, since))| (*driver, *what, *pool, since.elapsed()));
        described.collect()
    }
}

/// Checks for calls and drivers that take too long, in an endless loop.
pub fn watch(world: &World) {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let call = u64::try_from(CALL.as_nanos()).unwrap_or(u64::MAX);
        let overdue = world.book.overdue(system::now().saturating_sub(call));
        let drivers = world.watch.describe();
        if overdue.is_empty() && drivers.iter().all(|(.., since)| *since < SCENARIO) {
            continue;
        }
        for plan in overdue.iter().take(SHOWN) {
            let records = ledger::read(plan.token.epoch()).unwrap_or_default();
            let records = records
                .iter()
                .filter(|record| record.token.outermost() == plan.token);
            let records: Vec<_> = records.collect();
            let age = (system::now() - plan.submitted) / 1_000_000;
            let text = format!("{plan:?}, made {age} ms ago\nexecutions: {records:?}");
            world.book.violation("a call hangs", text);
        }
        eprintln!("{} calls hang (seed {})", overdue.len(), world.seed);
        for (driver, what, pool, since) in drivers {
            eprintln!("driver {driver}: {what} of {pool:?} for {since:?}");
        }
        eprintln!("{}", system::dump());
        std::process::abort();
    }
}
