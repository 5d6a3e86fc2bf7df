//! Records what `nightly` shows on a terminal, as an animated picture for the guide.
//!
//! ```text
//! cargo build --release --package retry-example-nightly --example nightly
//! cargo run --release --package retry-example-nightly --example recording -- docs/guide/nightly.svg
//! ```

use std::error::Error;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vt100::{Color, Parser, Screen};

const ROWS: u16 = 30;
const COLUMNS: u16 = 118;

/// Least time between two pictures, and the time for which the last one is shown.
const STEP: Duration = Duration::from_millis(300);
const LAST: Duration = Duration::from_secs(8);

/// Size of a character in the picture.
const WIDTH: f32 = 7.8;
const HEIGHT: f32 = 17.0;

/// The lines of the screen at a time after the start.
type Picture = (Duration, Vec<String>);

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args()
        .nth(1)
        .ok_or("the picture's file is missing")?;
    let mut program = Command::new(std::env::current_exe()?.with_file_name("nightly"));
    program.args(["--pages", "10000"]);
    let pictures = record(program)?;
    std::fs::write(file, draw(&pictures))?;
    Ok(())
}

/// Runs a program at a terminal of its own, and takes pictures of the screen.
fn record(mut program: Command) -> Result<Vec<Picture>, Box<dyn Error>> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let size = Winsize {
        ws_row: ROWS,
        ws_col: COLUMNS,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = File::options().write(true).open(name.to_str()?)?;
    program.env("TERM", "xterm-256color").stdin(Stdio::null());
    program.stdout(slave.try_clone()?).stderr(slave);
    let mut process = program.spawn()?;
    // Reading ends once the program has closed the terminal.
    drop(program);
    let [rows, columns] = [ROWS, COLUMNS].map(|size| NonZero::new(size).expect("a size"));
    let mut terminal = Parser::new(rows, columns, 0);
    let (mut master, begun) = (File::from(master), Instant::now());
    let mut pictures: Vec<Picture> = vec![(Duration::ZERO, lines(terminal.screen()))];
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = master.read(&mut buffer) {
        for part in buffer[..read].split_inclusive(|byte| *byte == b'8') {
            terminal.process(part);
            // The display has drawn its bars when it restores the cursor.
            let now = begun.elapsed();
            let is_whole = part.ends_with(b"\x1b8");
            if is_whole && pictures.last().is_some_and(|(last, _)| now - *last >= STEP) {
                pictures.push((now, lines(terminal.screen())));
            }
        }
    }
    pictures.push((begun.elapsed(), lines(terminal.screen())));
    process.wait()?;
    Ok(pictures)
}

/// Returns the lines of a screen as text of SVG.
fn lines(screen: &Screen) -> Vec<String> {
    let line = |row| {
        let (mut text, mut style) = (String::new(), "");
        for column in 0..COLUMNS {
            let Some(cell) = screen.cell(row, column) else {
                continue;
            };
            let class = match cell.fgcolor() {
                Color::Idx(1) => "red",
                Color::Idx(3) => "yellow",
                _ => "",
            };
            if class != style {
                text.push_str(if style.is_empty() { "" } else { "</tspan>" });
                if !class.is_empty() {
                    let _ = write!(text, r#"<tspan class="{class}">"#);
                }
                style = class;
            }
            match cell.contents() {
                "" => text.push(' '),
                "<" => text.push_str("&lt;"),
                "&" => text.push_str("&amp;"),
                other => text.push_str(other),
            }
        }
        text.push_str(if style.is_empty() { "" } else { "</tspan>" });
        text.trim_end().to_owned()
    };
    (0..ROWS).map(line).collect()
}

/// Returns a picture that shows all others one after the other.
fn draw(pictures: &[Picture]) -> String {
    let whole = pictures.last().map_or(LAST, |(end, _)| *end + LAST);
    let (width, height) = (
        WIDTH * f32::from(COLUMNS) + 20.0,
        HEIGHT * f32::from(ROWS) + 20.0,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\">\n<style>\n\
         text {{ font: 13px monospace; fill: #d4d4d4; white-space: pre; }}\n\
         .red {{ fill: #f47067; }} .yellow {{ fill: #e0b04d; }}\n\
         g {{ visibility: hidden; animation: {}s step-end infinite; }}\n",
        whole.as_secs_f32()
    );
    for (place, (begin, _)) in pictures.iter().enumerate() {
        let percent = |time: Duration| 100.0 * time.as_secs_f32() / whole.as_secs_f32();
        let end = pictures.get(place + 1).map_or(whole, |(next, _)| *next);
        let _ = writeln!(
            svg,
            "@keyframes p{place} {{ 0% {{ visibility: hidden }} {:.2}% {{ visibility: visible }} {:.2}% {{ visibility: {} }} }}",
            percent(*begin),
            percent(end),
            if end == whole { "visible" } else { "hidden" }
        );
    }
    svg.push_str("</style>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1e1e1e\"/>\n");
    for (place, (_, lines)) in pictures.iter().enumerate() {
        let _ = writeln!(svg, "<g style=\"animation-name: p{place}\">");
        let shown = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| !line.is_empty());
        for (row, line) in shown {
            #[expect(clippy::cast_precision_loss, reason = "there are few rows")]
            let y = HEIGHT * (row as f32 + 1.0) + 6.0;
            let _ = writeln!(svg, "<text x=\"10\" y=\"{y}\">{line}</text>");
        }
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}
