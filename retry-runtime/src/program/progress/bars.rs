//! Bars on a terminal.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use console::measure_text_width;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::meter::Meter;
use super::text;
use crate::api::context::short_name;
use crate::caller::host;
use crate::local::running::Running;
use crate::program::sampling::Sample;
use crate::terminal;

/// Interval at which the inputs that are executing are looked at. With many workers that takes a while.
const RUNNING_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Number of columns that everything beside the bar takes, roughly: the bar gets the rest.
const BESIDE: usize = 82;

/// Least and greatest number of columns of a bar.
const NARROWEST: usize = 8;
const WIDEST: usize = 30;

/// The program's own display.
static ADOPTED: OnceLock<MultiProgress> = OnceLock::new();

/// Draws bars in the program's own display from now on.
pub(super) fn adopt(bars: MultiProgress) {
    let _ = ADOPTED.set(bars);
}

/// A bar for each function with pending calls.
pub(in crate::program) struct Bars {
    display: MultiProgress,
    canvas: Canvas,
    is_adopted: bool,
    functions: HashMap<&'static str, Function>,
    running: Vec<Running>,
    looked_at: Option<Instant>,
}

struct Function {
    meter: Meter,
    /// The line below the bar, if there is one.
    details: Option<ProgressBar>,
    is_shown: bool,
    /// The width of a terminal in which the counts had no room beside a bar. The bar stays away there, so that it does
    /// not come and go with each digit.
    too_narrow: usize,
}

impl Default for Bars {
    fn default() -> Self {
        let canvas = Canvas::default();
        let target = ProgressDrawTarget::term_like(Box::new(canvas.clone()));
        Self {
            display: MultiProgress::with_draw_target(target),
            canvas,
            is_adopted: false,
            functions: HashMap::new(),
            running: Vec::new(),
            looked_at: None,
        }
    }
}

impl Bars {
    pub(super) fn show(&mut self, now: Instant, samples: &[Sample]) {
        if let (false, Some(adopted)) = (self.is_adopted, ADOPTED.get()) {
            self.is_adopted = true;
            self.functions.clear();
            self.display = adopted.clone();
        }
        let (_, width) = terminal::room();
        self.look(now, samples.iter().any(|sample| sample.is_long(now)));
        for sample in samples {
            if !sample.is_pending() {
                if let Some(mut ended) = self.functions.remove(sample.name) {
                    ended.hide(&self.display);
                }
                continue;
            }
            let known = self.functions.entry(sample.name);
            let known = known.or_insert_with(|| Function::new(now, sample));
            known.meter.measure(now, sample);
            if sample.is_long(now) {
                known.show(&self.display, sample, &self.running, width);
            }
        }
        if !self.is_adopted {
            terminal::set_frame(self.canvas.rows());
        }
    }

    /// Looks at the inputs that are executing, unless that was done a moment ago.
    fn look(&mut self, now: Instant, is_wanted: bool) {
        if !is_wanted {
            self.running.clear();
            return;
        }
        if self
            .looked_at
            .is_some_and(|last| now - last < RUNNING_CHECK_INTERVAL)
        {
            return;
        }
        self.looked_at = Some(now);
        self.running =
            host::global_if_started().map_or_else(Vec::new, |engine| engine.running(false));
    }
}

impl Drop for Bars {
    /// Takes all bars off the display, which may be the program's own.
    fn drop(&mut self) {
        for function in self.functions.values_mut() {
            function.hide(&self.display);
        }
    }
}

impl Function {
    fn new(now: Instant, sample: &Sample) -> Self {
        Self {
            meter: Meter::new(now, sample),
            details: None,
            is_shown: false,
            too_narrow: 0,
        }
    }

    fn show(
        &mut self,
        display: &MultiProgress,
        sample: &Sample,
        running: &[Running],
        width: usize,
    ) {
        if !self.is_shown {
            self.is_shown = true;
            let bar = &mut self.meter.bar;
            bar.set_prefix(short_name(sample.name).to_owned());
            *bar = display.add(bar.clone());
        }
        let bar = &self.meter.bar;
        let counts = text::counts(sample, Some(bar), true);
        let name = short_name(sample.name);
        if !has_room(width, name, &counts) {
            self.too_narrow = self.too_narrow.max(width);
        }
        // Both may change at any time.
        let has_bar = sample.total.is_some() && width > self.too_narrow;
        bar.set_style(match has_room_for_time(width, name, &counts) {
            true => style(width, has_bar),
            false => template("{prefix} {wide_msg}"),
        });
        bar.set_message(counts);
        let details = text::details(sample, running);
        if details.is_empty() {
            self.hide_details(display);
        } else {
            let line = self.details.get_or_insert_with(|| {
                let line = display.insert_after(bar, ProgressBar::no_length());
                line.set_style(template("             {wide_msg}"));
                line
            });
            line.set_message(details);
            line.tick();
        }
        self.meter.bar.tick();
    }

    /// Takes the bar off the display, for good.
    fn hide(&mut self, display: &MultiProgress) {
        if self.is_shown {
            self.hide_details(display);
            self.meter.bar.finish_and_clear();
            display.remove(&self.meter.bar);
        }
    }

    fn hide_details(&mut self, display: &MultiProgress) {
        if let Some(line) = self.details.take() {
            line.finish_and_clear();
            display.remove(&line);
        }
    }
}

/// Returns the number of columns of a bar on a terminal of this width.
fn columns(width: usize) -> usize {
    width.saturating_sub(BESIDE).clamp(NARROWEST, WIDEST)
}

/// The width of the time, and of the spaces around it and around a bar.
const TIME_AND_SPACES: usize = " [00:00:00]  ".len();

/// Returns whether a line of this width has room for a bar as well as for the name and the counts of a function.
fn has_room(width: usize, name: &str, counts: &str) -> bool {
    let texts = measure_text_width(name) + measure_text_width(counts);
    texts + TIME_AND_SPACES + columns(width) <= width
}

/// Returns whether a line of this width has room for the time as well as for the first of the counts. A number that is
/// cut off would be another one.
fn has_room_for_time(width: usize, name: &str, counts: &str) -> bool {
    let first = counts.split("  ").next().unwrap_or_default();
    measure_text_width(name) + TIME_AND_SPACES + measure_text_width(first) <= width
}

/// Returns the layout of a line of this width.
fn style(width: usize, has_bar: bool) -> ProgressStyle {
    let bar = columns(width);
    match has_bar {
        true => template(&format!(
            "{{prefix}} [{{elapsed_precise}}] {{bar:{bar}}} {{wide_msg}}"
        )),
        false => template("{prefix} [{elapsed_precise}] {wide_msg}"),
    }
}

fn template(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    style.progress_chars("━╸ ")
}

/// Takes the lines that a [`MultiProgress`] draws, for a frame below the cursor: the crate itself would draw them
/// over what the program has left on the line of the cursor.
#[derive(Clone, Debug, Default)]
struct Canvas(Arc<Mutex<Drawing>>);

#[derive(Debug, Default)]
struct Drawing {
    /// The text since the last flush.
    text: Vec<String>,
    rows: Vec<String>,
}

impl Canvas {
    fn lock(&self) -> std::sync::MutexGuard<'_, Drawing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows(&self) -> Vec<String> {
        self.lock().rows.clone()
    }
}

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        u16::try_from(terminal::room().1).unwrap_or(u16::MAX)
    }

    fn height(&self) -> u16 {
        u16::try_from(terminal::room().0).unwrap_or(u16::MAX)
    }

    /// A frame replaces the last one as a whole, so that movements of the cursor mean nothing.
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.write_str("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.lock().text.push(text.to_owned());
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let width = terminal::room().1;
        let mut drawing = self.lock();
        let text = std::mem::take(&mut drawing.text);
        drawing.rows = into_rows(&text, width);
        Ok(())
    }
}

/// Divides what was written into rows. A line is padded to the width of the terminal, behind which the terminal
/// continues on the next one.
fn into_rows(pieces: &[String], width: usize) -> Vec<String> {
    let (mut rows, mut row) = (Vec::new(), String::new());
    for piece in pieces {
        let ends = piece.ends_with('\n');
        row.push_str(piece.trim_matches(['\r', '\n']));
        let columns = measure_text_width(&row);
        if ends || columns >= width {
            let full = std::mem::take(&mut row);
            rows.push(full.trim_end().to_owned());
        }
    }
    if !row.is_empty() {
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_gives_way_to_the_counts() {
        let few = "4,120/10,000  812/s  eta 7s  8 running";
        let many = "4,120/10,000  3 failed  17 retried  812/s  eta 7s  8 running";
        assert!(has_room(80, "resize", few) && !has_room(80, "resize", many));
        assert!(has_room(90, "resize", many) && has_room(300, "resize", many));
        // `resize [00:00:01] ######## 4/9`
        assert!(has_room(30, "resize", "\x1b[31m4/9\x1b[0m"));
        assert!(!has_room(29, "resize", "4/9"));
        // `slow [00:00:02]  9/24`
        assert!(has_room_for_time(21, "slow", "9/24  8 running"));
        assert!(!has_room_for_time(20, "slow", "9/24  8 running"));
    }

    #[test]
    fn rows_are_those_that_were_padded_to_the_width() {
        let pieces = [
            "\r",
            "one",
            "       ",
            "zwölf\x1b[31m!\x1b[0m",
            "    ",
            "rest",
        ];
        let pieces = pieces.map(str::to_owned);
        let expected = ["one", "zwölf\x1b[31m!\x1b[0m", "rest"];
        assert_eq!(into_rows(&pieces, 10), expected);
        assert!(into_rows(&[], 10).is_empty());
        let line = ["a line".to_owned(), "\n".to_owned(), "another".to_owned()];
        assert_eq!(into_rows(&line, 10), ["a line", "another"]);
    }
}
