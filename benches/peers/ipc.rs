//! ipc-channel: a channel to another process and a channel back.

use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};

use crate::functions::plain_add_one;
use crate::roles::{Ended, this_program};

pub(crate) const ROLE: &str = "--as=ipc";

type Ends = (IpcSender<u64>, IpcReceiver<u64>);

pub(crate) fn serve() {
    let name = std::env::args().nth(2).expect("the name of a server");
    let (numbers, theirs) = ipc::channel::<u64>().expect("a channel");
    let (their_answers, answers) = ipc::channel::<u64>().expect("a channel");
    let server = IpcSender::<Ends>::connect(name).expect("the server is there");
    server.send((numbers, answers)).expect("the server listens");
    while let Ok(number) = theirs.recv() {
        if their_answers.send(plain_add_one(number)).is_err() {
            break;
        }
    }
}

pub(crate) struct Peer {
    numbers: IpcSender<u64>,
    answers: IpcReceiver<u64>,
    _process: Ended,
}

impl Peer {
    pub(crate) fn start() -> Self {
        let (server, name) = IpcOneShotServer::<Ends>::new().expect("a server");
        let child = this_program(ROLE).arg(name).spawn();
        let process = Ended(child.expect("this program starts"));
        let (_, (numbers, answers)) = server.accept().expect("the peer connects");
        Self {
            numbers,
            answers,
            _process: process,
        }
    }

    pub(crate) fn round_trip(&self, number: u64) -> u64 {
        self.numbers.send(number).expect("the peer listens");
        self.answers.recv().expect("the peer answers")
    }
}

/// Sends numbers to all peers in turn. One thread sends and another one receives, so that as many numbers are
/// in flight as the sockets hold: with a single thread, both sides could wait for each other to read.
pub(crate) fn map(peers: &[Peer], inputs: u64) {
    std::thread::scope(|scope| {
        let senders: Vec<_> = peers.iter().map(|peer| peer.numbers.clone()).collect();
        scope.spawn(move || {
            for (number, sender) in (0..inputs).zip(senders.iter().cycle()) {
                sender.send(number).expect("the peer listens");
            }
        });
        for (number, peer) in (0..inputs).zip(peers.iter().cycle()) {
            let answer = peer.answers.recv().expect("the peer answers");
            assert_eq!(answer, number + 1);
        }
    });
}
