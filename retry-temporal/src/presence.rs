//! Shows machines that a caller is alive, and finds out whether the caller of a task still is.
//!
//! A caller with tasks under way for more than some seconds polls a queue of its own, which never has a task. Each task
//! that was not detached names that queue. A machine that has such a task asks the server when the queue was last
//! polled, and takes the caller as gone when that has not changed for long enough. It measures that on its own clock:
//! those of the caller and of the server are never compared with it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use retry_runtime::engine::TaskId;

use crate::backoff::Backoff;
use crate::runtime;
use crate::service::{Problem, Service, Taken};

/// The time for which a caller is remembered that no task here refers to.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The times of the protocol. A caller that is cut off for a minute is not harmed, and what is left of one that has died
/// ends within 90 s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The age of a task from which on its caller polls. Calls that take less cost nothing.
    shows: Duration,
    /// The age of a task from which on machines ask for its caller, which has polled by then.
    pub(crate) asks: Duration,
    /// The time between two polls.
    renews: Duration,
    /// The time between two questions.
    every: Duration,
    /// The time between two questions while a task waits for the answer.
    quickly: Duration,
    /// The time after which a caller is gone: a minute, the time between two polls before it and the time that it takes
    /// to connect and to poll after it.
    silence: Duration,
}

impl Times {
    const USUAL: Self = Self {
        shows: Duration::from_secs(5),
        asks: Duration::from_secs(10),
        renews: Duration::from_secs(5),
        every: Duration::from_secs(8),
        quickly: Duration::from_secs(2),
        silence: Duration::from_secs(72),
    };

    #[cfg(not(feature = "testing"))]
    pub(crate) fn get() -> Self {
        Self::USUAL
    }

    /// Returns the times, which a test may shorten.
    #[cfg(feature = "testing")]
    pub(crate) fn get() -> Self {
        let haste = std::env::var("TEMPORAL_TEST_HASTE").ok();
        match haste.and_then(|haste| haste.parse::<u32>().ok()) {
            None => Self::USUAL,
            Some(haste) => Self {
                shows: Self::USUAL.shows / haste,
                asks: Self::USUAL.asks / haste,
                // The server accepts no shorter ones.
                renews: (Self::USUAL.renews / haste).max(Duration::from_millis(2500)),
                every: Self::USUAL.every / haste,
                quickly: Self::USUAL.quickly / haste,
                silence: Self::USUAL.silence / haste,
            },
        }
    }
}

/// Returns the queue that the caller of a task polls: it is named after its run.
pub(crate) fn queue_of(task: &TaskId) -> String {
    let run = task.as_str().split('/').next().unwrap_or_default();
    format!("{run}/caller")
}

/// Shows machines that this program, which makes calls, is there.
pub(crate) struct Presence {
    service: Arc<Service>,
    times: Times,
    state: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    /// The tasks under way, by the time at which they were submitted.
    tasks: BTreeSet<(Instant, TaskId)>,
    /// Set while there is a future that polls once one of them is old enough.
    is_watched: bool,
}

/// A task whose caller shows itself. Dropping it ends that.
pub(crate) struct Shows {
    presence: Arc<Presence>,
    task: (Instant, TaskId),
}

impl Presence {
    pub(crate) fn new(service: Arc<Service>) -> Self {
        Self {
            service,
            times: Times::get(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, Shown> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to show machines that the caller of a task is there, once the task has been under way for a while.
    pub(crate) fn show(self: &Arc<Self>, id: &TaskId) -> Shows {
        let task = (Instant::now(), id.clone());
        let mut state = self.state();
        state.tasks.insert(task.clone());
        if !state.is_watched
            && let Ok(handle) = runtime::handle()
        {
            state.is_watched = true;
            let (presence, queue) = (Arc::clone(self), queue_of(id));
            handle.spawn(async move { presence.run(&queue).await });
        }
        drop(state);
        Shows {
            presence: Arc::clone(self),
            task,
        }
    }

    /// Returns when the oldest task was submitted. If there is none, the future that polls is to end.
    fn oldest(&self) -> Option<Instant> {
        let mut state = self.state();
        let oldest = state.tasks.first().map(|(at, _)| *at);
        state.is_watched = oldest.is_some();
        oldest
    }

    async fn run(&self, queue: &str) {
        let key = format!("{queue}/{:016x}", crate::backoff::random());
        let mut backoff = Backoff::new();
        loop {
            let Some(oldest) = self.oldest() else { return };
            let begins = self.times.shows.saturating_sub(oldest.elapsed());
            if !begins.is_zero() {
                // The task may have ended by then.
                tokio::time::sleep(begins).await;
                continue;
            }
            let begun = Instant::now();
            let polled = self.service.poll(queue, "caller", &key, self.times.renews);
            match polled.await {
                // The server ends a poll before its limit, unless the connection is cut.
                Ok(_) if begun.elapsed() >= self.times.renews => self.service.renew(),
                Ok(_) => tokio::time::sleep(backoff.after_poll(begun)).await,
                Err(_) => backoff.wait().await,
            }
        }
    }
}

impl Drop for Shows {
    fn drop(&mut self) {
        self.presence.state().tasks.remove(&self.task);
    }
}

/// The callers of the tasks that this machine has or had lately.
pub(crate) struct Callers {
    times: Times,
    known: Mutex<HashMap<String, Arc<Caller>>>,
}

/// A caller, as the machines of its tasks see it.
pub(crate) struct Caller {
    queue: String,
    times: Times,
    /// Locked while the server is asked, so that tasks of the same caller share the answer.
    watch: tokio::sync::Mutex<Watch>,
    asked: Mutex<Instant>,
}

impl Callers {
    pub(crate) fn new() -> Self {
        Self {
            times: Times::get(),
            known: Mutex::default(),
        }
    }

    /// Returns the caller that polls a queue.
    pub(crate) fn get(&self, queue: &str) -> Arc<Caller> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, caller| {
            let asked = *caller.asked.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::strong_count(caller) > 1 || asked.elapsed() < REMEMBERED
        });
        let new = || {
            Arc::new(Caller {
                queue: queue.to_owned(),
                times: self.times,
                watch: tokio::sync::Mutex::default(),
                asked: Mutex::new(Instant::now()),
            })
        };
        Arc::clone(known.entry(queue.to_owned()).or_insert_with(new))
    }
}

impl Caller {
    /// Returns the age from which on a task is not begun before its caller was seen: it has shown itself by then.
    pub(crate) fn is_asked_first(&self, task: &Taken) -> bool {
        task.waited >= self.times.asks
    }

    /// Waits until the caller of a task is gone. Calls `seen` when the caller was seen lately.
    pub(crate) async fn gone(&self, service: &Service, task: &Taken, seen: impl Fn()) {
        let taken = Instant::now();
        let young = self.times.asks.saturating_sub(task.waited);
        tokio::time::sleep(young).await;
        let ripe = Instant::now();
        let mut every = match young.is_zero() {
            true => self.times.quickly,
            false => self.times.every,
        };
        loop {
            let by_server = task.started.checked_add(taken.elapsed());
            match self.look(service, ripe, every, by_server).await {
                Sight::Gone => return,
                Sight::Seen => {
                    seen();
                    every = self.times.every;
                }
                Sight::Doubtful => {}
            }
            let left = self.watch.lock().await.left(self.times.silence);
            tokio::time::sleep(every.min(left.max(self.times.quickly))).await;
        }
    }

    /// Looks for the caller, unless that was done within a time. One that was gone before a task was `ripe` may have come
    /// back. `by_server` is the time by the clock of the server.
    async fn look(
        &self,
        service: &Service,
        ripe: Instant,
        every: Duration,
        by_server: Option<SystemTime>,
    ) -> Sight {
        let mut watch = self.watch.lock().await;
        // Questions that several tasks have at about the same time are one.
        if watch.is_due(Instant::now(), ripe, every - every / 4, &self.times) {
            match service.last_poll(&self.queue).await {
                Ok(polled) => {
                    let now = Instant::now();
                    *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = now;
                    watch.observe(now, &self.times, polled, by_server);
                }
                // This program may not know: then calls run to their ends.
                Err(Problem::NotFound(_) | Problem::Denied(_) | Problem::Refused(_)) => {
                    return Sight::Seen;
                }
                // Nothing is known while the server is away.
                Err(Problem::Away(_) | Problem::Busy | Problem::Exists) => {}
            }
        }
        watch.sight(&self.times)
    }
}

/// The presence of a caller, as far as a machine knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// It has polled lately.
    Seen,
    Doubtful,
    Gone,
}

/// The observations of a caller's queue.
#[derive(Debug, Default)]
struct Watch {
    /// The time of the last poll, by the clock of the server.
    polled: Option<SystemTime>,
    /// The time for which that has not changed.
    unchanged: Duration,
    asked: Option<Instant>,
}

impl Watch {
    fn is_due(&self, now: Instant, ripe: Instant, every: Duration, times: &Times) -> bool {
        let Some(asked) = self.asked else { return true };
        let was_gone = self.sight(times) == Sight::Gone && asked < ripe;
        was_gone || now.saturating_duration_since(asked) >= every
    }

    /// Takes in when the queue was last polled; none if the server knows of no poll.
    fn observe(
        &mut self,
        now: Instant,
        times: &Times,
        polled: Option<SystemTime>,
        by_server: Option<SystemTime>,
    ) {
        let asked = self.asked.replace(now);
        if polled.is_some() && polled != self.polled {
            // The server's first answer may be old. Both times are the server's.
            let age = match (asked, polled, by_server) {
                (None, Some(polled), Some(now)) => now.duration_since(polled).ok(),
                _ => None,
            };
            self.unchanged = age.unwrap_or_default();
            self.polled = polled;
        } else if let Some(asked) = asked {
            // Neither this machine nor the caller may have reached the server in a longer time.
            let passed = now.saturating_duration_since(asked).min(times.every * 2);
            self.unchanged = self.unchanged.saturating_add(passed);
        }
    }

    fn sight(&self, times: &Times) -> Sight {
        match self.polled {
            _ if self.asked.is_none() => Sight::Doubtful,
            _ if self.unchanged >= times.silence => Sight::Gone,
            Some(_) if self.unchanged < times.every * 2 => Sight::Seen,
            _ => Sight::Doubtful,
        }
    }

    /// Returns the time after which the caller is gone if nothing changes.
    fn left(&self, silence: Duration) -> Duration {
        silence.saturating_sub(self.unchanged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMES: Times = Times::USUAL;

    /// A caller and a machine that asks for it, with clocks that do not agree.
    struct World {
        watch: Watch,
        begun: Instant,
        at: Duration,
    }

    impl World {
        fn new() -> Self {
            Self {
                watch: Watch::default(),
                begun: Instant::now(),
                at: Duration::ZERO,
            }
        }

        /// Lets the machine ask for as long as something holds of a time, about a caller that polls at these times.
        fn ask(&mut self, until: Duration, polls: impl Fn(Duration) -> Option<Duration>) -> Sight {
            while self.at < until {
                let by_server = |at| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + at;
                let polled = polls(self.at).map(by_server);
                let now = self.begun + self.at;
                self.watch
                    .observe(now, &TIMES, polled, Some(by_server(self.at)));
                if self.watch.sight(&TIMES) == Sight::Gone {
                    break;
                }
                let left = self.watch.left(TIMES.silence);
                self.at += TIMES.every.min(left.max(TIMES.quickly));
            }
            self.watch.sight(&TIMES)
        }
    }

    /// Returns the last poll of a caller that polls every four seconds except within a time.
    fn polls_but(from: Duration, to: Duration) -> impl Fn(Duration) -> Option<Duration> {
        move |at| {
            let last = |at: Duration| Duration::from_secs(at.as_secs() / 4 * 4);
            Some(match last(at) {
                // The first poll after it takes some time.
                poll if poll >= from && at < to + 7 * SECOND => last(from.saturating_sub(SECOND)),
                poll => poll,
            })
        }
    }

    #[test]
    fn a_caller_that_polls_is_seen() {
        let mut world = World::new();
        let never = Duration::MAX / 2;
        assert_eq!(
            world.ask(1000 * SECOND, polls_but(never, never)),
            Sight::Seen
        );
    }

    #[test]
    fn a_caller_that_is_cut_off_for_a_minute_is_not_gone() {
        for begins in 100..130 {
            let mut world = World::new();
            let begins = begins * SECOND;
            let polls = polls_but(begins, begins + 60 * SECOND);
            assert_eq!(world.ask(begins + 50 * SECOND, &polls), Sight::Doubtful);
            assert_eq!(world.ask(1000 * SECOND, &polls), Sight::Seen);
        }
    }

    #[test]
    fn a_caller_that_has_died_is_gone_in_time() {
        for dies in 100..130 {
            let mut world = World::new();
            let dies = dies * SECOND;
            let polls = polls_but(dies, Duration::MAX / 2);
            assert_eq!(world.ask(1000 * SECOND, polls), Sight::Gone);
            let after = world.at - dies;
            assert!(after > 60 * SECOND && after < 85 * SECOND, "{after:?}");
        }
    }

    #[test]
    fn a_caller_that_never_polled_is_gone_in_time() {
        let mut world = World::new();
        assert_eq!(world.ask(70 * SECOND, |_| None), Sight::Doubtful);
        assert_eq!(world.ask(1000 * SECOND, |_| None), Sight::Gone);
        assert!(world.at + TIMES.asks < 85 * SECOND, "{:?}", world.at);
        // A task that was not known then asks again whether the caller has come back.
        let (asked, later) = (world.begun + world.at, world.begun + world.at + SECOND);
        let due = |ripe| world.watch.is_due(later, ripe, TIMES.every, &TIMES);
        assert!(!due(asked) && due(later));
        assert_eq!(world.ask(world.at + SECOND, Some), Sight::Seen);
    }

    #[test]
    fn an_old_poll_counts_at_once() {
        let mut world = World::new();
        world.at = 1000 * SECOND;
        assert_eq!(
            world.ask(1001 * SECOND, |_| Some(990 * SECOND)),
            Sight::Seen
        );
        let mut world = World::new();
        world.at = 1000 * SECOND;
        let old = |_| Some(900 * SECOND);
        assert_eq!(world.ask(1001 * SECOND, old), Sight::Gone);
    }

    #[test]
    fn the_time_of_an_outage_does_not_count() {
        let mut world = World::new();
        let polls = |_| Some(Duration::ZERO);
        world.ask(SECOND, polls);
        // The server was away for an hour, and the caller has not polled again yet.
        world.at += 3600 * SECOND;
        assert_ne!(world.ask(world.at + 20 * SECOND, polls), Sight::Gone);
        // Nor does that in which the server has forgotten what it knew.
        assert_eq!(world.ask(world.at + 9 * SECOND, Some), Sight::Seen);
    }

    #[test]
    fn callers_are_told_apart_by_their_runs() {
        let callers = Callers::new();
        let (one, other) = (callers.get("a/caller"), callers.get("b/caller"));
        assert!(Arc::ptr_eq(&one, &callers.get("a/caller")));
        assert!(!Arc::ptr_eq(&one, &other));
    }
}
