//! Judges the result of a call in isolation: a value must be the right one, and the injected faults must
//! explain an error. Checks that need the ledger are left to the audit.

use std::time::{Duration, Instant};

use retry_runtime::{AttemptOutcome, CallError, Limit, Rejected};

use crate::book::{Book, Failure, Kind, Plan, State};
use crate::faults::Faults;
use crate::job::{Action, Answer, Job, Refusal, Token};
use crate::stubs::{Pool, Told};
use crate::system;

/// Delay with which a limit may take effect on a busy machine whose workers are stopped.
const LATE: Duration = Duration::from_secs(45);

/// Length of an error's report that is kept.
const REPORT: usize = 1500;

/// The result of a call that no fault from outside disturbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Answer,
    Function,
    Panic,
    Crash,
    Timeout,
}

fn expected(plan: &Plan) -> Expected {
    match plan.action {
        Action::Fail => Expected::Function,
        Action::FailFirst if plan.retries == 0 => Expected::Function,
        Action::Panic => Expected::Panic,
        Action::PanicFirst if plan.retries == 0 => Expected::Panic,
        Action::Exit(_) | Action::Abort | Action::Hoard => Expected::Crash,
        Action::Oversleep => Expected::Timeout,
        _ => Expected::Answer,
    }
}

/// Judges and enters the result of the call `token`, which has this index in a map.
pub fn settle<E: Told>(
    book: &Book,
    faults: &Faults,
    token: Token,
    index: Option<u64>,
    result: Result<Answer, CallError<E>>,
) {
    let Some(plan) = book.plan(token) else {
        return book.violation("an outcome of an unknown call", token.to_string());
    };
    match result {
        Ok(answer) => {
            book.count(|counts| *counts.outcomes.entry((plan.pool, None)).or_default() += 1);
            if let Some((rule, found)) = wrong_answer(&plan, &answer) {
                book.violation(rule, format!("{plan:?}\n{found}"));
            }
            book.resolve(token, State::Succeeded);
        }
        Err(error) => {
            let kind = kind(&error);
            let counted = (plan.pool, Some(kind));
            book.count(|counts| *counts.outcomes.entry(counted).or_default() += 1);
            let failure = failure(kind, &error);
            for (rule, found) in unexplained(&plan, &error, &failure, index, faults) {
                let report = &failure.report;
                book.violation(rule, format!("{plan:?}\n{found}\n{report}"));
            }
            book.resolve(token, State::Failed(failure));
        }
    }
}

fn wrong_answer(plan: &Plan, answer: &Answer) -> Option<(&'static str, String)> {
    if answer.token != plan.token {
        return Some((
            "an answer is another call's",
            format!("it is that of {}", answer.token),
        ));
    }
    if answer.bytes != Job::answer(plan.seed, plan.answer_size) {
        let start = &answer.bytes[..answer.bytes.len().min(32)];
        let found = format!("{} bytes, {start:?}..", answer.bytes.len());
        return Some(("an answer has wrong bytes", found));
    }
    let expected = expected(plan);
    (expected != Expected::Answer).then(|| {
        (
            "a call succeeded that cannot",
            format!("expected {expected:?}"),
        )
    })
}

pub fn kind<E>(error: &CallError<E>) -> Kind {
    match error {
        CallError::Function(..) => Kind::Function,
        CallError::Panicked(..) => Kind::Panicked,
        CallError::Crashed(..) => Kind::Crashed,
        CallError::TimedOut(timed_out, _) => match timed_out.limit() {
            Limit::Deadline => Kind::DeadlinePassed,
            Limit::Startup => Kind::StartTimedOut,
            _ => Kind::AttemptTimedOut,
        },
        CallError::Startup(..) => Kind::Startup,
        CallError::CrashLimit(..) => Kind::CrashLimit,
        CallError::Cancelled(..) => Kind::Cancelled,
        CallError::Rejected(..) => Kind::Rejected,
        _ => Kind::Lost,
    }
}

fn failure<E: Told>(kind: Kind, error: &CallError<E>) -> Failure {
    let context = error.context();
    let mut report = match error {
        CallError::Function(error, _) => format!("Function({})", error.told()),
        CallError::Panicked(panic, _) => format!("Panicked({panic})"),
        CallError::Crashed(crash, _) => format!("Crashed({crash})"),
        CallError::TimedOut(timed_out, _) => format!("TimedOut({timed_out})"),
        CallError::Startup(startup, _) => format!("Startup({startup})"),
        CallError::CrashLimit(exceeded, _) => format!("CrashLimit({exceeded})"),
        CallError::Cancelled(cancelled, _) => format!("Cancelled({cancelled})"),
        CallError::Rejected(rejected, _) => format!("Rejected({rejected})"),
        CallError::Lost(lost, _) => format!("Lost({lost})"),
        _ => "an unknown error".to_owned(),
    };
    for attempt in context.attempts() {
        report += &format!(
            "\nattempt {} of pid {:?} {}, ran {:?}",
            attempt.number, attempt.worker_pid, attempt.outcome, attempt.duration
        );
    }
    if matches!(kind, Kind::Startup | Kind::Crashed | Kind::Lost) {
        report += "\n";
        report += context.stderr_tail();
    }
    if let Some((end, _)) = report.char_indices().nth(REPORT) {
        report.truncate(end);
    }
    Failure {
        kind,
        did_not_run: error.did_not_run(),
        attempts: context.attempts().to_vec(),
        report,
    }
}

/// Returns the rules that an error violates, with the findings.
fn unexplained<E: Told>(
    plan: &Plan,
    error: &CallError<E>,
    failure: &Failure,
    index: Option<u64>,
    faults: &Faults,
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut note = |rule, text: String| found.push((rule, text));
    // Read the clock first, so that it is at most `elapsed` after the call was made.
    let at = Instant::now();
    let now = system::now();
    let elapsed = Duration::from_nanos(now.saturating_sub(plan.submitted));
    let expected = expected(plan);

    if error.context().input_index() != index {
        let text = format!("{:?} instead of {index:?}", error.context().input_index());
        note("an error has another input's index", text);
    }
    attempts_add_up(failure, at, elapsed, &mut note);

    match error {
        CallError::Function(error, _) => {
            let told = error.told();
            if told == Refusal::Asked(plan.token).to_string() {
                // A deadline may have prevented the second attempt.
                let is_late = plan.action == Action::FailFirst && plan.deadline.is_some();
                if expected != Expected::Function && !is_late {
                    note(
                        "an error that was not asked for",
                        format!("expected {expected:?}"),
                    );
                }
            } else if !nested_failure_is_explained(plan, &told, faults, now) {
                note("an error that nothing explains", told);
            }
        }
        CallError::Panicked(panic, _) => {
            let is_asked = panic
                .message()
                .contains(&format!("asked to: {}", plan.token));
            // A deadline may have prevented the second attempt.
            let is_late = plan.action == Action::PanicFirst && plan.deadline.is_some();
            if !is_asked || expected != Expected::Panic && !is_late {
                note(
                    "a panic that was not asked for",
                    format!("expected {expected:?}"),
                );
            }
        }
        CallError::Crashed(..) => {
            let crashed = failure.attempts.iter();
            let crashes = crashed.filter(|one| matches!(one.outcome, AttemptOutcome::Crashed(_)));
            let crashes = crashes.count();
            let needed = if plan.pool == Pool::Once { 1 } else { 3 };
            if crashes != needed {
                note(
                    "a call was given up after another number of crashes",
                    crashes.to_string(),
                );
            }
        }
        CallError::TimedOut(timed_out, _) => match timed_out.limit() {
            Limit::Attempt if plan.timeout == Some(timed_out.after()) => {
                let last = failure.attempts.last().map(|one| one.duration);
                if last < plan.timeout {
                    note("a timeout came too early", format!("after {last:?}"));
                }
            }
            Limit::Deadline if plan.deadline == Some(timed_out.after()) => {
                if elapsed < timed_out.after() && plan.retries == 0 {
                    note("a deadline came too early", format!("after {elapsed:?}"));
                }
            }
            _ => note("a limit that was not set", timed_out.to_string()),
        },
        CallError::Startup(..) => {
            let starts = plan.pool.is_flaky() && faults.starts_failed(plan.submitted, now);
            let low = faults.limits_were_low(plan.submitted, now);
            // If no worker is alive, a set-up that gets no licence is an ordinary failure; the audit checks
            // for a live worker.
            if !starts && !low && plan.pool != Pool::Licensed {
                note("a failed start that nothing explains", String::new());
            }
        }
        CallError::Cancelled(..) | CallError::Rejected(Rejected::ShutDown, _)
            if plan.may_be_cancelled => {}
        CallError::Cancelled(..) => note("cancelled, but by nobody", String::new()),
        CallError::CrashLimit(..) => note("a crash limit that nothing explains", String::new()),
        CallError::Rejected(..) => note("rejected without a reason", String::new()),
        _ => note("lost", String::new()),
    }
    if let Some(deadline) = plan.deadline
        && elapsed > deadline + LATE
    {
        note("a deadline came too late", format!("after {elapsed:?}"));
    }
    found
}

/// Checks that the attempts are numbered in their order and lie within the life of the call.
fn attempts_add_up(
    failure: &Failure,
    at: Instant,
    elapsed: Duration,
    note: &mut impl FnMut(&'static str, String),
) {
    let mut before = 0;
    for attempt in &failure.attempts {
        if attempt.number <= before {
            note("the attempts are not in order", String::new());
        }
        before = attempt.number;
        if at.duration_since(attempt.start) > elapsed + Duration::from_millis(1) {
            note(
                "an attempt began before its call",
                format!("{attempt:?}, call {elapsed:?}"),
            );
        }
        if attempt.duration > elapsed {
            note(
                "an attempt took longer than its call",
                format!("{attempt:?}, call {elapsed:?}"),
            );
        }
    }
}

/// Returns whether the failure of a nested call, which the outer one returned as its error, is explained.
fn nested_failure_is_explained(plan: &Plan, told: &str, faults: &Faults, now: u64) -> bool {
    let Some(kind) = told
        .strip_prefix("Inner(\"")
        .and_then(|rest| rest.split('"').next())
    else {
        return false;
    };
    match kind {
        "Crashed" => faults.kills(plan.submitted, now) >= 3,
        "Startup" => faults.limits_were_low(plan.submitted, now),
        // A worker keeps the limits that were in force when it was started.
        "Rejected" => told.contains("no thread") && faults.counts().few_processes > 0,
        _ => false,
    }
}
