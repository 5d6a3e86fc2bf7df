//! The drivers: the kinds of calls, made from threads and from async code.

mod awaiting;
mod blocking;
mod runtimes;

use std::sync::Arc;
use std::time::Duration;

use retry_runtime::{CallError, Options, Retries};

use crate::book::State;
use crate::job::{Action, Job, Token};
use crate::judge::settle;
use crate::run::World;
use crate::stubs::{Pool, Stub, Target};
use crate::with_stub;

pub use awaiting::drive_async;

/// A thread or task that makes calls.
pub struct Driver {
    world: &'static World,
    rng: fastrand::Rng,
    number: usize,
}

impl Driver {
    pub fn new(world: &'static World, number: usize) -> Self {
        let seed = world.seed.wrapping_mul(1000).wrapping_add(number as u64);
        Self {
            world,
            rng: fastrand::Rng::with_seed(seed),
            number,
        }
    }

    /// Makes calls on this thread until the run is over.
    pub fn drive(mut self) {
        while !self.world.is_over() {
            match self.rng.u32(0..100) {
                0 => runtimes::create_use_and_end(&mut self),
                1 => runtimes::nobody_answers_after_the_end(&mut self),
                _ => {
                    let target = self.target();
                    with_stub!(target, |stub| blocking::make_calls(&mut self, &stub));
                }
            }
        }
    }

    fn weighted<T: Copy>(&mut self, choices: &[(u32, T)]) -> T {
        let sum = choices.iter().map(|(weight, _)| weight).sum();
        let mut draw = self.rng.u32(0..sum);
        for (weight, choice) in choices {
            if draw < *weight {
                return *choice;
            }
            draw -= weight;
        }
        unreachable!("the draw is less than the sum")
    }

    /// Draws a function, and from time to time other options for it.
    fn target(&mut self) -> Target {
        let mut pools = vec![
            (12, Pool::Raw),
            (8, Pool::Lent),
            (20, Pool::Plain),
            (20, Pool::Typed),
            (8, Pool::Untyped),
            (10, Pool::Concurrent),
            (6, Pool::Awaiting),
            (8, Pool::Batched),
            (8, Pool::Once),
            (5, Pool::Timed),
            (4, Pool::Graceful),
            (6, Pool::Recycled),
            (2, Pool::Single),
            (2, Pool::Limited),
            (4, Pool::Outer),
            (5, Pool::Prepared),
            (3, Pool::Licensed),
            (4, Pool::Shop),
        ];
        if self.world.forks {
            pools.push((4, Pool::Forking));
        }
        let pool = self.weighted(&pools);
        if pool == Pool::Shop {
            self.world.book.count(|counts| counts.services += 1);
            // Some configurations recur, and others are used only once.
            let number = if self.rng.bool() {
                self.rng.u64(0..4)
            } else {
                self.rng.u64(4..1 << 24)
            };
            return Target::of_shop(number);
        }
        let mut target = Target::of(pool);
        if self.rng.u32(0..8) == 0 {
            self.override_options(&mut target);
        }
        target
    }

    fn override_options(&mut self, target: &mut Target) {
        let mut options = Options::new();
        if target.pool != Pool::Once && self.rng.bool() {
            let retries = self.rng.u32(0..3);
            let delay = Duration::from_millis(self.rng.u64(0..5));
            options = options.retries(Retries::fixed(retries, delay));
            target.retries = retries;
        }
        if self.rng.bool() {
            let deadline = Duration::from_millis(self.rng.u64(300..20_000));
            options = options.deadline(deadline);
            target.deadline = Some(deadline);
        }
        if self.rng.u32(0..4) == 0 {
            let timeout = Duration::from_millis(self.rng.u64(400..5000));
            options = options.timeout(timeout);
            target.timeout = Some(timeout);
        }
        target.options = options;
    }

    fn action(&mut self, target: &Target) -> Action {
        let sleep = Action::Sleep {
            micros: self.rng.u32(0..3000),
        };
        let ordinary = [(880, Action::Return), (50, sleep), (30, Action::Print)];
        let special: &[(u32, Action)] = match target.pool {
            Pool::Raw | Pool::Lent => return Action::Return,
            Pool::Outer => {
                let calls = Action::Nest(self.rng.u8(2..9));
                let ways = [(6, calls), (2, Action::NestTwice), (2, Action::NestAndDrop)];
                return self.weighted(&ways);
            }
            Pool::Plain => &[(1, Action::Panic)],
            Pool::Batched => &[(20, Action::Fail)],
            Pool::Concurrent => &[
                (20, Action::Fail),
                (1, Action::Panic),
                (10, Action::Nest(3)),
            ],
            Pool::Once => &[(20, Action::Fail), (1, Action::Panic), (1, Action::Exit(0))],
            Pool::Timed | Pool::Graceful => &[(20, Action::Fail), (5, Action::Oversleep)],
            Pool::Limited => &[(2, Action::Hoard), (1, Action::Fail)],
            Pool::Forking => &[(300, Action::ForkAndExit), (300, Action::ForkAndReturn)],
            _ => &[
                (20, Action::Fail),
                (1, Action::Panic),
                (1, Action::Exit(3)),
                (1, Action::Abort),
            ],
        };
        let mut choices = ordinary.to_vec();
        choices.extend(special);
        if target.retries > 0 && !target.pool.is_shared() && target.pool.has_errors() {
            choices.extend([(20, Action::FailFirst), (2, Action::PanicFirst)]);
        }
        if !target.pool.is_shared() && target.pool.has_errors() && target.pool != Pool::Once {
            choices.push((1, Action::AbortFirst));
        }
        self.weighted(&choices)
    }

    /// Draws a call. `large` permits values of several megabytes.
    fn job(&mut self, target: &Target, large: bool) -> Job {
        let token = self.world.book.token();
        let action = self.action(target);
        let sizes = (self.size(large), self.size(large));
        Job::new(token, target.place, action, self.rng.u64(..), sizes)
    }

    fn size(&mut self, large: bool) -> u32 {
        match self.rng.u32(0..100) {
            0..10 => 0,
            10..90 => self.rng.u32(1..200),
            90..99 => self.rng.u32(200..65_536),
            _ if large => self.rng.u32(65_536..4 << 20),
            _ => self.rng.u32(200..2000),
        }
    }

    /// Draws the calls of a map.
    fn jobs(&mut self, target: &Target) -> Vec<Job> {
        let slow = matches!(
            target.pool,
            Pool::Single
                | Pool::Limited
                | Pool::Outer
                | Pool::Timed
                | Pool::Graceful
                | Pool::Forking
                | Pool::Recycled
        );
        let (count, large) = match self.rng.u32(0..100) {
            0..40 => (self.rng.usize(0..20), false),
            40..95 if slow => (self.rng.usize(0..40), false),
            40..80 => (self.rng.usize(20..300), false),
            80..95 => (self.rng.usize(300..2500), false),
            _ => (self.rng.usize(1..12), true),
        };
        (0..count).map(|_| self.job(target, large)).collect()
    }

    /// Enters a call and returns its input.
    fn enter<S: Stub>(&self, target: &Target, job: Job, may_be_cancelled: bool) -> S::Input {
        self.world.book.submit(target, &job, may_be_cancelled);
        S::input(job)
    }

    fn settle<S: Stub>(&self, token: Token, result: Result<S::Value, CallError<S::Error>>) {
        self.settle_at::<S>(token, None, result);
    }

    fn settle_at<S: Stub>(
        &self,
        token: Token,
        index: Option<u64>,
        result: Result<S::Value, CallError<S::Error>>,
    ) {
        let World { book, faults, .. } = self.world;
        settle(book, faults, token, index, result.map(S::answer));
    }

    fn resolve(&self, token: Token, state: State) {
        self.world.book.resolve(token, state);
    }

    /// Reports the next activity of this driver to the watchdog.
    fn begin(&self, what: &'static str, target: &Target) {
        self.world.watch.begin(self.number, what, target.pool);
    }
}

/// The calls of a map. They are entered when the map takes them.
pub struct Inputs<S> {
    world: &'static World,
    target: Target,
    jobs: std::vec::IntoIter<Job>,
    may_be_cancelled: bool,
    stub: std::marker::PhantomData<fn() -> S>,
}

impl<S: Stub> Inputs<S> {
    fn new(driver: &Driver, target: &Target, jobs: Vec<Job>, may_be_cancelled: bool) -> Self {
        Self {
            world: driver.world,
            target: target.clone(),
            jobs: jobs.into_iter(),
            may_be_cancelled,
            stub: std::marker::PhantomData,
        }
    }
}

impl<S: Stub> Iterator for Inputs<S> {
    type Item = S::Input;

    fn next(&mut self) -> Option<S::Input> {
        let job = self.jobs.next()?;
        self.world
            .book
            .submit(&self.target, &job, self.may_be_cancelled);
        Some(S::input(job))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.jobs.size_hint()
    }
}

/// The outstanding results of a map.
struct Outstanding {
    tokens: Arc<[Token]>,
    settled: Vec<bool>,
    ordered: bool,
    next: usize,
}

impl Outstanding {
    fn new(jobs: &[Job], ordered: bool) -> Self {
        let tokens: Arc<[Token]> = jobs.iter().map(|job| job.token).collect();
        Self {
            settled: vec![false; tokens.len()],
            tokens,
            ordered,
            next: 0,
        }
    }

    /// Settles the next result of the map.
    fn settle<S: Stub>(&mut self, driver: &Driver, result: Result<S::Value, CallError<S::Error>>) {
        let (result, place) = match result {
            Err(error) => {
                let index = error.context().input_index();
                (
                    Err(error),
                    index.and_then(|index| usize::try_from(index).ok()),
                )
            }
            Ok(value) => {
                let answer = S::answer(value);
                let mut tokens = self.tokens.iter();
                let place = tokens.position(|token| *token == answer.token);
                (Ok(answer), place)
            }
        };
        // If the order is kept, the position identifies the input of the result.
        let place = if self.ordered { Some(self.next) } else { place };
        self.next += 1;
        let Some(place) = place.filter(|place| *place < self.tokens.len()) else {
            let text = format!("result {} of {}", self.next, self.tokens.len());
            return driver
                .world
                .book
                .violation("a map has a result of no input", text);
        };
        let World { book, faults, .. } = driver.world;
        settle(book, faults, self.tokens[place], Some(place as u64), result);
        self.settled[place] = true;
    }

    /// Settles the error at which the map was stopped.
    fn fail<S: Stub>(&mut self, driver: &Driver, error: CallError<S::Error>) {
        let index = error.context().input_index();
        self.next = index
            .and_then(|index| usize::try_from(index).ok())
            .unwrap_or(usize::MAX - 1);
        self.settle::<S>(driver, Err(error));
    }

    /// Settles all inputs as successful, without their values.
    fn succeed(&self, driver: &Driver) {
        for token in &*self.tokens {
            driver.resolve(*token, State::Succeeded);
        }
    }

    /// Abandons the inputs without a result, as far as the map took them.
    fn abandon(&self, driver: &Driver) {
        for (token, settled) in self.tokens.iter().zip(&self.settled) {
            if !settled && driver.world.book.plan(*token).is_some() {
                driver.resolve(*token, State::Abandoned);
            }
        }
    }

    /// Checks that each input has a result.
    fn is_complete(&self, driver: &Driver) {
        let missing = self.settled.iter().filter(|settled| !**settled).count();
        if missing > 0 {
            let text = format!("{missing} of {}", self.tokens.len());
            driver
                .world
                .book
                .violation("a map ended without all results", text);
            self.abandon(driver);
        }
    }
}
