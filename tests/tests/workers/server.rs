//! A web server whose handlers await calls: the example `server`, tested from outside.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use retry_tests::{eventually, example, fixture_outside};
use rustix::process::{Pid, Signal, kill_process};

/// The example may have to be built first.
const LIMIT: Duration = Duration::from_secs(600);

/// The time limit for anything that happens at once.
const SOON: Duration = Duration::from_secs(20);

struct Server {
    process: Child,
    address: String,
    lines: Receiver<String>,
}

impl Server {
    fn start() -> Self {
        let mut process = example("server").stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        let first = lines.recv_timeout(SOON).unwrap();
        let address = first.strip_prefix("listening on ").unwrap().to_owned();
        Self {
            process,
            address,
            lines,
        }
    }

    fn ask(&self, milliseconds: u64) -> TcpStream {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        let request = format!("GET /digits/{milliseconds} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        connection
    }

    /// Waits until the server has printed this text.
    fn says(&self, expected: &str) {
        let until = Instant::now() + SOON;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == expected => return,
                Ok(_) => {}
                Err(error) => panic!("it does not say {expected:?}: {error}"),
            }
        }
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.process.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    }
}

/// Returns the status and the body of a response.
fn answer(connection: TcpStream) -> (u16, String) {
    connection.set_read_timeout(Some(SOON)).unwrap();
    let mut connection = BufReader::new(connection);
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
            status = rest[..3].parse().unwrap();
        } else if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        } else if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).unwrap();
    (status, String::from_utf8(body).unwrap())
}

#[test]
fn a_client_that_goes_away_takes_its_call_along() {
    fixture_outside(LIMIT, || {
        let mut server = Server::start();
        // As many requests as there may be workers.
        for milliseconds in [300_000, 300_001] {
            let connection = server.ask(milliseconds);
            server.says(&format!("digits: computing for {milliseconds} ms"));
            connection.shutdown(Shutdown::Both).unwrap();
            server.says("digits: stopped: nobody wants the digits any more");
        }
        assert_eq!(answer(server.ask(2)), (200, "3.14159".to_owned()));
        server.terminate();
        assert!(server.process.wait().unwrap().success());
    });
}

#[test]
fn sigterm_drains_and_leaves_nothing() {
    fixture_outside(LIMIT, || {
        let mut server = Server::start();
        let asked = Instant::now();
        let running = server.ask(1500);
        server.says("digits: computing for 1500 ms");
        server.terminate();
        server.says("draining");
        eventually("it takes no further connections", SOON, || {
            TcpStream::connect(&server.address).is_err()
        });
        assert_eq!(answer(running), (200, "3.14159".to_owned()));
        assert!(asked.elapsed() >= Duration::from_millis(1500));
        server.says("drained, 0 calls were given up");
        assert_eq!(server.process.wait().unwrap().code(), Some(0));
        // The fixture checks that no worker is left.
    });
}
