//! Tells whether memory is scarce, by the share of time for which processes have waited for it.

use std::ffi::OsStr;
use std::{env, fs};

/// Names the file that describes the memory pressure on a service, as systemd sets it:
/// <https://systemd.io/MEMORY_PRESSURE/>.
const WATCHED: &str = "MEMORY_PRESSURE_WATCH";

/// The kernel's file for the whole machine: <https://docs.kernel.org/accounting/psi.html>.
const MACHINE: &str = "/proc/pressure/memory";

/// The share of the last ten seconds from which on memory is scarce, in percent. It is that at which systemd reports
/// pressure to a service unless configured otherwise, 200 ms within 2 s.
const SCARCE: f64 = 10.0;

/// Returns whether processes had to wait for memory recently. The file is read and not watched for reports: a process
/// without privileges is told every two seconds at most, and the end of a watch blocks its thread for milliseconds.
pub(super) fn is_high() -> bool {
    let watched =
        env::var_os(WATCHED).filter(|path| fs::metadata(path).is_ok_and(|at| at.is_file()));
    let path = watched.as_deref().unwrap_or(OsStr::new(MACHINE));
    // The kernel may have been built or started without it.
    let text = fs::read_to_string(path).unwrap_or_default();
    share(&text).is_some_and(|share| share >= SCARCE)
}

/// Returns the share of the last ten seconds in which at least one process waited, in percent.
fn share(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = some
        .split(' ')
        .find_map(|field| field.strip_prefix("avg10="))?;
    average.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_ten_seconds_is_read() {
        let text = "some avg10=12.50 avg60=3.00 avg300=0.10 total=4711\n\
                    full avg10=99.00 avg60=0.00 avg300=0.00 total=42\n";
        assert_eq!(share(text), Some(12.5));
        assert_eq!(share("full avg10=99.00 avg60=0.00"), None);
        assert_eq!(share("some avg60=3.00"), None);
        assert_eq!(share(""), None);
    }
}
