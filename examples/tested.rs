//! A program with tests of its own, for its handling of failures and its retry policy.
//!
//! `cargo run --example tested`, and `cargo test --example tested` for the tests below.

use retry_runtime::{CallError, Retries, function, local_entrypoint};
use serde::{Deserialize, Serialize};

/// Tries a station up to five times, within about eight seconds.
const PATIENT: Retries = Retries::exponential(4)
    .initial_delay(std::time::Duration::from_millis(500))
    .max_delay(std::time::Duration::from_secs(4));

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
enum StationError {
    #[error("there is no station {0}")]
    Unknown(u32),
    #[error("the station is busy")]
    Busy,
}

/// Returns whether a retry can help: an unknown station stays unknown.
fn may_pass(error: &StationError) -> bool {
    *error == StationError::Busy
}

/// Returns the temperature at a station, in tenths of a degree.
#[function(retries = PATIENT, retry_if = may_pass, timeout = "2s", max_workers = 2)]
fn measure(station: u32) -> Result<i32, StationError> {
    match station {
        0..100 => Ok(150 + i32::try_from(station % 10).unwrap_or(0)),
        // A station that is always busy.
        100 => Err(StationError::Busy),
        _ => Err(StationError::Unknown(station)),
    }
}

/// The result of asking many stations.
#[derive(Debug, Default, PartialEq)]
struct Survey {
    mean: Option<i32>,
    unknown: Vec<u32>,
    silent: Vec<u32>,
}

/// Asks all stations. The mean leaves out stations that do not answer.
fn survey(stations: &[u32]) -> Survey {
    let mut survey = Survey::default();
    let mut measured = Vec::new();
    for (station, result) in stations.iter().zip(measure.map(stations.to_vec())) {
        match result {
            Ok(temperature) => measured.push(temperature),
            Err(CallError::Function(StationError::Unknown(_), _)) => survey.unknown.push(*station),
            Err(_) => survey.silent.push(*station),
        }
    }
    if let Ok(count @ 1..) = i32::try_from(measured.len()) {
        survey.mean = Some(measured.iter().sum::<i32>() / count);
    }
    survey
}

/// Asks a few stations.
#[local_entrypoint]
fn main() {
    let survey = survey(&[3, 5, 7, 200]);
    println!("{survey:?}");
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use retry_runtime::testing::{Fault, Rule, inject, pause_clock};

    use super::*;

    #[test]
    fn only_a_busy_station_is_asked_again() {
        // Code that needs no worker is tested without one.
        assert!(may_pass(&StationError::Busy));
        assert!(!may_pass(&StationError::Unknown(7)));
        assert_eq!(measure(7), Ok(157));
    }

    #[test]
    fn a_station_has_about_eight_seconds() {
        let delays: Vec<u128> = PATIENT.schedule().map(|delay| delay.as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000]);
    }

    #[retry_runtime::test]
    fn a_busy_station_is_asked_five_times_and_an_unknown_one_once() {
        let _clock = pause_clock();
        let begun = Instant::now();
        for (station, attempts) in [(100, 5), (200, 1)] {
            let error = measure.remote(station).wait().unwrap_err();
            assert_eq!(error.context().attempts().len(), attempts, "{error:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "7.5 s of delays");
    }

    #[retry_runtime::test]
    fn stations_that_stay_silent_are_left_out_of_the_mean() {
        let _clock = pause_clock();
        let rule = |fault| Rule::new(fault).function(measure.name());
        let _faults = inject(
            1,
            [
                // The second station kills its worker; the third one fails twice and then answers.
                rule(Fault::Signal(11)).input(1),
                rule(Fault::Panic).input(2).times(2),
            ],
        );
        let expected = Survey {
            mean: Some((150 + 152 + 153) / 3),
            unknown: vec![200],
            silent: vec![1, 100],
        };
        assert_eq!(survey(&[0, 1, 2, 3, 100, 200]), expected);
    }

    #[retry_runtime::test]
    fn a_station_that_hangs_costs_its_timeout_and_no_more() {
        let _clock = pause_clock();
        let _faults = inject(
            1,
            [Rule::new(Fault::Hang).function(measure.name()).times(1)],
        );
        let call = measure.remote(7).timeout(Duration::from_millis(50));
        assert_eq!(call.wait().unwrap(), 157, "the second attempt answers");
    }

    #[retry_runtime::test]
    fn a_survey_gets_through_when_one_attempt_in_ten_fails() {
        let _clock = pause_clock();
        let stations: Vec<u32> = (0..100).collect();
        for seed in 0..5 {
            let rule = Rule::new(Fault::Panic).function(measure.name());
            let _faults = inject(seed, [rule.share(0.1)]);
            // Five panics in a row affect about one station in a hundred thousand.
            assert!(survey(&stations).silent.len() <= 1, "seed {seed}");
        }
    }
}
