//! Shows the progress of a program's calls on standard error, under `run` and `#[local_entrypoint]`.

mod bars;
mod lines;
mod meter;
mod text;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::MultiProgress;

use super::sampling::Sample;
use crate::config::ProgressMode;
use crate::terminal;

use bars::Bars;
use lines::Lines;

/// Time for which an input executes before it is shown.
const LONG: Duration = Duration::from_millis(500);

/// The way to show the progress.
pub(super) enum Display {
    Nothing,
    Bars(Box<Bars>),
    Lines(Lines),
}

impl Display {
    pub(super) fn new(mode: ProgressMode) -> Self {
        match mode {
            ProgressMode::None => Self::Nothing,
            ProgressMode::Auto if has_terminal() => {
                // Do this before the samples begin: the program may wait for its calls earlier than that.
                terminal::begin();
                Self::Bars(Box::default())
            }
            ProgressMode::Auto | ProgressMode::Lines => Self::Lines(Lines::new(Instant::now())),
        }
    }

    pub(super) fn show(&mut self, now: Instant, samples: &[Sample]) {
        match self {
            Self::Nothing => {}
            Self::Bars(bars) => bars.show(now, samples),
            Self::Lines(lines) => lines.show(now, samples),
        }
    }
}

/// Returns whether standard error is a terminal on which a display may move the cursor.
fn has_terminal() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|name| name == "dumb");
    !dumb && !is_set("NO_COLOR") && !is_set("CI") && std::io::stderr().is_terminal()
}

/// Takes the display of progress off the terminal while the closure runs, and returns its value.
///
/// The display disappears by itself before a call or a map returns to the program. A program needs this if another
/// of its threads prints while one waits for calls. Where nothing is displayed, it only calls the closure.
///
/// The closure may do anything, such as ask the user something or make calls. Status lines and the output of workers
/// are printed meanwhile. After [`adopt`] it keeps other threads from using the program's own display.
///
/// ```no_run
/// use retry_runtime::{function, progress};
///
/// # #[function] fn resize(width: u32) -> u32 { width / 2 }
/// # retry_runtime::init();
/// retry_runtime::run(|| {
///     std::thread::spawn(|| progress::suspend(|| println!("a line of another thread")));
///     for width in resize.map(0..10_000) {
///         println!("{width:?}");
///     }
/// });
/// ```
pub fn suspend<R>(write: impl FnOnce() -> R) -> R {
    terminal::suspend_for_program(write)
}

/// Shows the display of progress or hides it, from now on.
///
/// It is shown at first. Without a terminal, and without [`run`](crate::run) or `#[local_entrypoint]`, there is
/// nothing to hide: separate lines are printed, or nothing is. [`Program::progress`](crate::Program::progress)
/// decides for the whole run.
///
/// ```no_run
/// retry_runtime::progress::set_visible(false);
/// // Asks the user something, on another thread than the one that waits for calls.
/// retry_runtime::progress::set_visible(true);
/// ```
pub fn set_visible(visible: bool) {
    terminal::set_visible(visible);
}

/// Draws the progress of calls as bars of a `MultiProgress`, among the bars of the program.
///
/// From then on the bars are drawn by `bars`, wherever it draws, and are there while calls are pending: the program
/// prints through [`MultiProgress::println`] or [`MultiProgress::suspend`]. Lines of workers, status lines and
/// [`suspend`] take all of its bars off the terminal for a moment. Nothing is shown before calls have been pending
/// for a second, nor if [progress](crate::Program::progress) is turned off or printed by lines.
///
/// Only the first call has an effect. The type is that of the crate `indicatif`, version 0.18.
///
/// ```no_run
/// use retry_runtime::progress::{self, MultiProgress};
///
/// # #[retry_runtime::function] fn resize(width: u32) -> u32 { width / 2 }
/// # retry_runtime::init();
/// retry_runtime::run(|| {
///     let bars = MultiProgress::new();
///     progress::adopt(&bars);
///     for width in resize.map(0..10_000) {
///         bars.println(format!("{width:?}")).unwrap();
///     }
/// });
/// ```
pub fn adopt(bars: &MultiProgress) {
    let suspended = bars.clone();
    if terminal::adopt(Box::new(move |write| suspended.suspend(write))) {
        bars::adopt(bars.clone());
    }
}
