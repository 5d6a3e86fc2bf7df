//! Pseudo-terminals.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Creates a terminal. Returns its keyboard and screen as one file, and the path under which programs open it.
///
/// # Panics
///
/// If the terminal cannot be created.
#[must_use]
pub fn terminal() -> (File, String) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let keyboard = openpt(flags).expect("a terminal");
    grantpt(&keyboard).expect("its own terminal");
    unlockpt(&keyboard).expect("its own terminal");
    let name = ptsname(&keyboard, Vec::new()).expect("a name");
    (File::from(keyboard), name.into_string().expect("a path"))
}

/// Opens a terminal as a program does that reads from it and writes to it.
///
/// # Panics
///
/// If the terminal cannot be opened.
#[must_use]
pub fn open_terminal(path: &str) -> File {
    let file = File::options().read(true).write(true).open(path);
    file.expect("a terminal")
}

/// Collects what is written to a terminal, on a thread, until no process has the terminal open.
///
/// # Panics
///
/// If there is no descriptor left.
#[must_use]
pub fn collect_screen(keyboard: &File) -> Arc<Mutex<String>> {
    let mut output = keyboard.try_clone().expect("a descriptor");
    let screen = Arc::new(Mutex::new(String::new()));
    let written = Arc::clone(&screen);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // Reading fails once no process has the terminal open.
        while let Ok(read @ 1..) = output.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..read]);
            written.lock().expect("no panic").push_str(&text);
        }
    });
    screen
}
