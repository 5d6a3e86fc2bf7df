//! Draws the work of each worker over time: bars for its start and its attempts. Short bars are merged, so that
//! their number does not depend on the length of a run.

use std::time::Duration;

use super::super::attempts::{Span, WorkerKey, Workers};
use crate::api::context::AttemptOutcome;

/// Greatest number of rows.
const ROWS: usize = 100;

/// Greatest number of bars in a row while a run goes on.
const BARS: usize = 1024;

/// The kinds of ends of attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) panicked: u64,
    pub(super) crashed: u64,
    pub(super) timed_out: u64,
    /// Attempts that were cancelled, and those whose result was lost.
    pub(super) others: u64,
}

impl Tally {
    pub(super) fn of(span: &Span) -> Self {
        let mut this = Self::default();
        let count = match &span.failure {
            None => &mut this.succeeded,
            Some((outcome, _)) => match outcome {
                AttemptOutcome::Failed => &mut this.failed,
                AttemptOutcome::Panicked => &mut this.panicked,
                AttemptOutcome::Crashed(_) => &mut this.crashed,
                AttemptOutcome::TimedOut(_) => &mut this.timed_out,
                AttemptOutcome::Cancelled | AttemptOutcome::Lost | AttemptOutcome::HostLost => {
                    &mut this.others
                }
            },
        };
        *count = u64::from(span.count);
        this
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.panicked += other.panicked;
        self.crashed += other.crashed;
        self.timed_out += other.timed_out;
        self.others += other.others;
    }

    pub(super) fn attempts(&self) -> u64 {
        self.succeeded + self.failures()
    }

    pub(super) fn failures(&self) -> u64 {
        self.failed + self.panicked + self.crashed + self.timed_out + self.others
    }
}

/// Attempts of a worker, or its start, or several of them that are close together.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) begun: Duration,
    pub(super) ended: Duration,
    /// The time that the attempts took together.
    pub(super) busy: Duration,
    pub(super) tally: Tally,
    /// The starts of workers, and those of them that failed.
    pub(super) starts: u32,
    pub(super) failed_starts: u32,
    /// The longest attempt.
    pub(super) longest: Option<Span>,
    pub(super) worker: WorkerKey,
}

impl Bar {
    fn of_span(span: Span) -> Self {
        Self {
            begun: span.begun,
            ended: span.begun + span.ran,
            busy: span.ran,
            tally: Tally::of(&span),
            starts: 0,
            failed_starts: 0,
            worker: span.worker,
            longest: Some(span),
        }
    }

    fn merge(&mut self, other: Self) {
        self.begun = self.begun.min(other.begun);
        self.ended = self.ended.max(other.ended);
        self.busy += other.busy;
        self.tally.merge(&other.tally);
        self.starts += other.starts;
        self.failed_starts += other.failed_starts;
        let longer = match (&self.longest, &other.longest) {
            (Some(one), Some(other)) => mean(one) < mean(other),
            (one, _) => one.is_none(),
        };
        if longer {
            self.longest = other.longest;
            self.worker = other.worker;
        }
    }
}

fn mean(span: &Span) -> Duration {
    span.ran / span.count.max(1)
}

/// One row: the workers of a function that have followed each other in one place of its pool.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) pool: &'static str,
    /// The number of the row among those of the pool, counted from 1.
    pub(super) number: usize,
    occupant: Option<WorkerKey>,
    bars: Vec<Bar>,
    grain: Duration,
}

impl Row {
    fn add(&mut self, bar: Bar) {
        // Nearly always the last one.
        let place = self
            .bars
            .iter()
            .rposition(|earlier| earlier.begun <= bar.begun)
            .map_or(0, |place| place + 1);
        self.bars.insert(place, bar);
        if self.bars.len() > BARS {
            self.grain = coarsen(&mut self.bars, self.grain, BARS / 2);
        }
    }

    /// Returns the bars, at most `most` of them, of which those within `grain` are merged.
    pub(super) fn bars(&self, grain: Duration, most: usize) -> Vec<Bar> {
        let mut bars = self.bars.clone();
        merge(&mut bars, grain);
        if bars.len() > most {
            coarsen(&mut bars, grain, most);
        }
        bars
    }
}

/// Merges bars over longer and longer times until there are at most `most`. Returns the last of these times.
fn coarsen(bars: &mut Vec<Bar>, grain: Duration, most: usize) -> Duration {
    let (Some(first), Some(last)) = (bars.first(), bars.last()) else {
        return grain;
    };
    let period = last.ended.saturating_sub(first.begun);
    let share = period / u32::try_from(most).unwrap_or(u32::MAX).max(1);
    let mut grain = grain.max(share / 4).max(Duration::from_micros(1));
    merge(bars, grain);
    while bars.len() > most.max(1) {
        grain = grain.saturating_mul(2);
        merge(bars, grain);
    }
    grain
}

/// Merges neighbours that are together within `grain`.
fn merge(bars: &mut Vec<Bar>, grain: Duration) {
    bars.dedup_by(|next, bar| {
        let together = next.ended.max(bar.ended).saturating_sub(bar.begun) <= grain;
        if together {
            bar.merge(next.clone());
        }
        together
    });
}

/// The work of all workers.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    rows: Vec<Row>,
    /// The row of each worker; `None` if there was none left.
    workers: Workers<Option<usize>>,
    hidden: u64,
}

impl Timeline {
    /// Adds attempts.
    pub(super) fn add(&mut self, span: Span) {
        if let Some(row) = self.row(span.worker, span.function) {
            self.rows[row].add(Bar::of_span(span));
        }
    }

    /// Notes that a worker's process was started.
    pub(super) fn begin(&mut self, worker: WorkerKey, pool: &'static str) {
        self.row(worker, pool);
    }

    /// Notes that a worker is ready, after a start that took this long.
    pub(super) fn start(
        &mut self,
        worker: WorkerKey,
        pool: &'static str,
        at: Duration,
        set_up: Duration,
    ) {
        let row = self.row(worker, pool);
        self.add_start(row, worker, at.saturating_sub(set_up), at, false);
    }

    /// Notes that a worker did not become ready, given up after this time. The end of its process, if there was
    /// one, is known before.
    pub(super) fn fail_start(
        &mut self,
        worker: WorkerKey,
        pool: &'static str,
        at: Duration,
        elapsed: Duration,
    ) {
        let row = self.row(worker, pool);
        self.add_start(row, worker, at.saturating_sub(elapsed), at, true);
        self.end(worker);
    }

    /// Notes that a worker has ended.
    pub(super) fn end(&mut self, worker: WorkerKey) {
        if let Some(row) = self.workers.get(worker).copied().flatten()
            && self.rows[row].occupant == Some(worker)
        {
            self.rows[row].occupant = None;
        }
        self.workers.end(worker);
    }

    /// Returns the rows, in the order of their pools.
    pub(super) fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        let first = |pool: &str| self.rows.iter().position(|row| row.pool == pool);
        rows.sort_by_key(|row| (first(row.pool), row.number));
        rows
    }

    /// Returns the number of workers for which there was no row.
    pub(super) fn hidden(&self) -> u64 {
        self.hidden
    }

    /// Returns the number of bars and workers that are kept.
    #[cfg(test)]
    pub(super) fn footprint(&self) -> usize {
        let bars: usize = self.rows.iter().map(|row| row.bars.len()).sum();
        bars + self.workers.keys().len()
    }

    fn add_start(
        &mut self,
        row: Option<usize>,
        worker: WorkerKey,
        begun: Duration,
        ended: Duration,
        failed: bool,
    ) {
        if let Some(row) = row {
            self.rows[row].add(Bar {
                begun,
                ended,
                busy: Duration::ZERO,
                tally: Tally::default(),
                starts: 1,
                failed_starts: u32::from(failed),
                longest: None,
                worker,
            });
        }
    }

    /// Returns the row of a worker, which is a free one of its pool if the worker is new.
    fn row(&mut self, worker: WorkerKey, pool: &'static str) -> Option<usize> {
        let (rows, hidden) = (&mut self.rows, &mut self.hidden);
        *self.workers.get_or_insert(worker, || {
            let number = rows.iter().filter(|row| row.pool == pool).count() + 1;
            let is_free = |row: &Row| row.pool == pool && row.occupant.is_none();
            let row = rows.iter().position(is_free);
            let row = row.or_else(|| {
                (rows.len() < ROWS).then(|| {
                    rows.push(Row {
                        pool,
                        number,
                        occupant: None,
                        bars: Vec::new(),
                        grain: Duration::ZERO,
                    });
                    rows.len() - 1
                })
            });
            match row {
                Some(row) => rows[row].occupant = Some(worker),
                None => *hidden += 1,
            }
            row
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::call_id::CallNumber;

    fn worker(number: u64) -> WorkerKey {
        WorkerKey {
            number,
            pid: Some(1),
        }
    }

    fn span(number: u64, begun: u64, ran: u64, failure: Option<AttemptOutcome>) -> Span {
        Span {
            worker: worker(number),
            lane: 0,
            function: "app::f",
            call: CallNumber(begun + 1),
            index: Some(begun),
            last_index: None,
            count: 1,
            attempt: 1,
            begun: Duration::from_micros(begun),
            ran: Duration::from_micros(ran),
            is_measured: true,
            failure: failure.map(|failure| (failure, None)),
        }
    }

    #[test]
    fn a_replacement_takes_the_row_of_the_worker_that_ended() {
        let mut timeline = Timeline::default();
        let at = Duration::from_millis;
        timeline.begin(worker(1), "app::f");
        timeline.begin(worker(2), "app::f");
        timeline.begin(worker(3), "app::g");
        timeline.start(worker(1), "app::f", at(3), at(2));
        timeline.end(worker(1));
        timeline.begin(worker(4), "app::f");
        // The last attempt of the worker that has ended becomes known late, and its replacement fails.
        timeline.add(span(1, 8000, 900, Some(AttemptOutcome::Panicked)));
        timeline.end(worker(4));
        timeline.fail_start(worker(4), "app::f", at(12), at(2));
        // The end of the run ends the start of a worker, which therefore has not failed.
        timeline.begin(worker(5), "app::f");
        timeline.end(worker(5));
        let rows = timeline.rows();
        let names: Vec<_> = rows.iter().map(|row| (row.pool, row.number)).collect();
        assert_eq!(names, [("app::f", 1), ("app::f", 2), ("app::g", 1)]);
        let bars = rows[0].bars(Duration::ZERO, 100);
        let kinds: Vec<_> = bars
            .iter()
            .map(|bar| (bar.starts, bar.failed_starts, bar.tally.panicked))
            .collect();
        assert_eq!(kinds, [(1, 0, 0), (0, 0, 1), (1, 1, 0)]);
    }

    #[test]
    fn bars_are_merged_without_losing_an_attempt_or_a_long_bar() {
        let mut timeline = Timeline::default();
        let mut random = fastrand::Rng::with_seed(5);
        let (mut time, mut failed) = (0, 0);
        for number in 0..200_000_u64 {
            let failure = (number % 1000 == 7).then_some(AttemptOutcome::Failed);
            failed += u64::from(failure.is_some());
            // One attempt takes a tenth of the time of all.
            let ran = match number {
                100_000 => 10_000_000,
                _ => random.u64(1..1000),
            };
            timeline.add(span(1, time, ran, failure));
            time += ran;
            assert!(timeline.rows[0].bars.len() <= BARS);
        }
        let bars = timeline.rows()[0].bars(Duration::ZERO, 200);
        assert!((100..=200).contains(&bars.len()), "{}", bars.len());
        let attempts: u64 = bars.iter().map(|bar| bar.tally.attempts()).sum();
        let failures: u64 = bars.iter().map(|bar| bar.tally.failures()).sum();
        assert_eq!((attempts, failures), (200_000, failed));
        let busy: Duration = bars.iter().map(|bar| bar.busy).sum();
        assert_eq!(busy, Duration::from_micros(time));
        let long = bars.iter().find(|bar| {
            bar.longest.as_ref().unwrap().index.is_some() && bar.busy >= Duration::from_secs(10)
        });
        assert_eq!(
            long.unwrap().longest.as_ref().unwrap().ran,
            Duration::from_secs(10)
        );
        assert!(bars.windows(2).all(|pair| pair[0].ended <= pair[1].begun));
    }

    #[test]
    fn the_number_of_rows_is_bounded() {
        let mut timeline = Timeline::default();
        for number in 0..1000 {
            timeline.begin(worker(number), "app::f");
        }
        assert_eq!((timeline.rows().len(), timeline.hidden()), (ROWS, 900));
    }
}
