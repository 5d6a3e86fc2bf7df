//! Checkpoints of programs that are killed, and of several programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use retry_tests::{eventually, fixture_outside, seeded};

const LIMIT: Duration = Duration::from_secs(300);

/// Returns a program that runs a map with a checkpoint.
fn program(how: &str, directory: &Path, inputs: u64) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resuming"));
    command
        .args(["--how", how, "--inputs", &inputs.to_string()])
        .arg("--file")
        .arg(directory.join("run.db"))
        .arg("--ledger")
        .arg(directory.join("ledger"))
        .env("RETRY_PROGRESS", "none")
        .stdin(Stdio::null());
    command
}

/// Returns the number of kept results that a program has printed.
fn kept(errors: &str) -> Option<usize> {
    let (before, _) = errors.split_once(" kept, ")?;
    let number = before.rsplit(' ').next()?.replace(',', "");
    Some(number.parse().expect("a number"))
}

/// Returns the inputs that each run executed.
fn executions(ledger: &Path) -> BTreeMap<usize, BTreeSet<u64>> {
    let mut runs: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in fs::read_to_string(ledger).unwrap().lines() {
        let (run, input) = line.split_once(' ').unwrap();
        let executed = runs.entry(run.parse().unwrap()).or_default();
        let is_new = executed.insert(input.parse().unwrap());
        assert!(is_new, "input {input} was executed twice in run {run}");
    }
    runs
}

/// Kills a map of this many inputs this often, each time at another moment, and lets it end. Checks that all
/// results are right and that no stored result was computed again.
fn killed_often(kills: usize, inputs: u64, random: &mut fastrand::Rng) {
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("ledger");
    fs::write(&ledger, "").unwrap();
    let size = || fs::metadata(&ledger).unwrap().len();
    // The number of results that were stored when each run began, if that is known.
    let mut stored = Vec::new();
    let errors = directory.path().join("errors");
    for run in 0..kills {
        let mut program = program("cubes", directory.path(), inputs)
            .env("RUN", run.to_string())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let (begun, lines) = (size(), random.u64(0..700));
        // A line has about eight bytes. Few lines mean a moment while the program starts. There are more
        // inputs than all runs execute until they are killed, however long that takes.
        if lines >= 50 {
            eventually("the program makes progress", LIMIT, || {
                size() >= begun + 8 * lines || program.try_wait().unwrap().is_some()
            });
        }
        std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
        assert!(program.try_wait().unwrap().is_none(), "it ended by itself");
        program.kill().unwrap();
        program.wait().unwrap();
        stored.push(kept(&fs::read_to_string(&errors).unwrap()));
    }
    let output = program("cubes", directory.path(), inputs)
        .env("RUN", kills.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let right = format!("{inputs} right\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), right, "{said}");
    stored.push(kept(&said));

    let runs = executions(&ledger);
    let mut before = BTreeSet::new();
    for (run, stored) in stored.iter().enumerate() {
        let Some(executed) = runs.get(&run) else {
            continue;
        };
        // What was stored has been executed before and never again, and nothing else has.
        let later = runs.range(run..).flat_map(|(_, executed)| executed);
        let later: BTreeSet<u64> = later.copied().collect();
        assert_eq!(
            before.difference(&later).count(),
            stored.unwrap_or(0),
            "run {run}"
        );
        before.extend(executed);
    }
    assert_eq!(before.len() as u64, inputs);
    let total: usize = runs.values().map(BTreeSet::len).sum();
    let last = stored[kills].unwrap_or(0);
    eprintln!("{total} executions of {inputs} inputs, {last} kept by the last run");
    assert!(last > 0, "no result was ever stored");
}

#[test]
fn a_map_that_is_killed_50_times_computes_no_stored_result_again() {
    fixture_outside(LIMIT, || {
        seeded(1, |random, _| killed_often(50, 20_000, random));
    });
}

#[test]
fn a_second_program_is_told_that_the_file_is_in_use() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let ledger = directory.path().join("ledger");
        fs::write(&ledger, "").unwrap();
        let mut first = program("cubes", directory.path(), 1_000_000)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the first program runs", LIMIT, || {
            fs::metadata(&ledger).unwrap().len() > 0
        });
        let second = program("priced", directory.path(), 3).output().unwrap();
        let said = String::from_utf8(second.stdout).unwrap();
        first.kill().unwrap();
        first.wait().unwrap();
        assert!(said.contains("run.db cannot be opened"), "{said}");
        assert!(said.contains("another process uses it"), "{said}");
        // The first one is gone, and so is its lock.
        let third = program("priced", directory.path(), 3).output().unwrap();
        let said = String::from_utf8(third.stdout).unwrap();
        assert_eq!(said, "[Ok(0), Ok(1), Ok(2)]\n");
    });
}

#[test]
fn a_file_that_is_removed_in_use_is_told() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let ledger = directory.path().join("ledger");
        fs::write(&ledger, "").unwrap();
        let process = program("cubes", directory.path(), 2_000)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        eventually("the program runs", LIMIT, || {
            fs::metadata(&ledger).unwrap().len() > 0
        });
        fs::remove_file(directory.path().join("run.db")).unwrap();
        let output = process.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"2000 right\n");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("run.db was removed while it was in use"),
            "{said}"
        );
    });
}

#[test]
fn a_program_prints_how_many_results_are_kept() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let lines = [10, 10, 1500, 5].map(|inputs| {
            let output = program("priced", directory.path(), inputs)
                .output()
                .unwrap();
            String::from_utf8(output.stderr).unwrap()
        });
        let file = directory.path().join("run.db");
        let line = |numbers| format!("resuming::priced: {numbers} ({})\n", file.display());
        let expected = [
            String::new(),
            line("10 kept, 0 to do"),
            line("10 kept, 1,490 to do"),
            line("5 kept, 0 to do"),
        ];
        assert_eq!(lines, expected);
    });
}

/// A limit on the size of files stands for a disk that is full.
#[test]
fn a_full_disk_rejects_further_inputs_and_keeps_results() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let program = program("large", directory.path(), 1000);
        let mut shell = Command::new("sh");
        // The limit is in blocks of 512 bytes. The signal would end the program.
        let script = "trap '' XFSZ; ulimit -f 65536; exec \"$@\"";
        shell.args(["-c", script, "sh"]).arg(program.get_program());
        shell.args(program.get_args()).stdin(Stdio::null());
        let output = shell.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (counts, errors) = said.split_once('\n').unwrap();
        let (right, wrong) = counts.split_once(" right, ").unwrap();
        let (right, wrong): (u32, u32) = (
            right.parse().unwrap(),
            wrong.trim_end_matches(" errors").parse().unwrap(),
        );
        assert_eq!(right + wrong, 1000, "{said}");
        // A map does not run far ahead of the disk: 4 MiB of results are 70, and as many are being written.
        assert!((40..700).contains(&right), "{said}");
        assert!(
            errors.contains("results can no longer be stored in the checkpoint"),
            "{said}"
        );
        // With room on the disk the map goes on from what was stored.
        let again = self::program("large", directory.path(), 1000)
            .output()
            .unwrap();
        let said = String::from_utf8(again.stdout).unwrap();
        assert!(said.starts_with("1000 right, 0 errors\n"), "{said}");
        let errors = String::from_utf8(again.stderr).unwrap();
        let kept = kept(&errors).expect("results were kept");
        assert!(kept > 10 && kept <= right as usize, "{errors}");
    });
}

/// A damaged file is refused, or the damage is in no result that is read.
#[test]
fn no_result_of_a_damaged_checkpoint_is_wrong() {
    fixture_outside(LIMIT, || {
        seeded(3, |random, _| {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("run.db");
            let output = program("large", directory.path(), 40).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let content = fs::read(&file).unwrap();
            for _ in 0..12 {
                let mut damaged = content.clone();
                let begin = random.usize(0..damaged.len() - 200);
                random.fill(&mut damaged[begin..begin + 200]);
                fs::write(&file, &damaged).unwrap();
                let again = program("large", directory.path(), 40).output().unwrap();
                assert!(again.status.success(), "at {begin}: {again:?}");
            }
        });
    });
}

/// The disk is full before the map has ended, and no input comes after that.
#[test]
fn a_map_whose_last_results_cannot_be_stored_says_so() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let command = program("large", directory.path(), 40);
        // The limit on the size of files takes the place of a full disk.
        let script = "trap '' XFSZ; ulimit -f 1800; exec \"$0\" \"$@\"";
        let mut limited = Command::new("bash");
        limited.args(["-c", script]).arg(command.get_program());
        limited.args(command.get_args());
        limited.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let output = limited.stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{errors}");
        assert!(
            errors.contains("can no longer be stored in the checkpoint"),
            "{errors}"
        );
    });
}
