//! The transport of calls and answers: the selected one is used, and the choice does not change results.

use std::process::Command;
use std::time::Duration;

use retry_tests::fixture_outside;

const LIMIT: Duration = Duration::from_secs(120);

/// Returns the output of the program in a mode, with `RETRY_TRANSPORT` set to this value.
fn strange(transport: &str, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_strange"))
        .args(arguments)
        .env("RETRY_TRANSPORT", transport)
        .output()
        .expect("the program can be started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    eprintln!("{stderr}");
    String::from_utf8(output.stdout).expect("a text")
}

/// Returns the expected output: whether there are rings, the sum of a map, and the number of correct large
/// results.
fn calls(rings: bool) -> String {
    format!("{rings}\n{}\n4\n", (1..=10_000u64).sum::<u64>())
}

#[test]
fn calls_go_through_rings_or_the_socket_as_asked() {
    fixture_outside(LIMIT, || {
        assert_eq!(strange("rings", &["shared"]), calls(true));
        assert_eq!(strange("socket", &["shared"]), calls(false));
    });
}

#[test]
fn without_memory_for_rings_calls_go_through_the_socket() {
    fixture_outside(LIMIT, || {
        assert_eq!(strange("rings", &["limited"]), calls(false));
        assert_eq!(strange("socket", &["limited"]), calls(false));
        // Without any shared memory, no input could be blamed for a crash.
        let refused = strange("rings", &["hopeless"]);
        assert!(refused.contains("File too large"), "{refused}");
    });
}

#[test]
fn a_worker_that_writes_nonsense_harms_no_other() {
    fixture_outside(LIMIT, || {
        let seed = std::env::var("RETRY_SEED").unwrap_or_else(|_| fastrand::u64(..).to_string());
        println!("RETRY_SEED={seed}");
        for transport in ["rings", "socket"] {
            assert_eq!(strange(transport, &["nonsense", &seed, "100"]), "over\n");
        }
    });
}
