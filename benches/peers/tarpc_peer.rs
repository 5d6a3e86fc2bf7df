//! tarpc over a Unix socket, with bincode: a client in this process and a server in another one.

use std::os::unix::net::UnixStream;

use futures_util::StreamExt;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tarpc::serde_transport::{self, Transport};
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::LengthDelimitedCodec;
use tarpc::{client, context};
use tokio::runtime::Runtime;

use crate::functions::{Blob, plain_add_one, plain_echo};
use crate::roles::{self, Ended};

pub(crate) const ROLE: &str = "--as=tarpc";

/// tarpc's own limit is 8 MiB.
const LONGEST_MESSAGE: usize = 256 * 1024 * 1024;

#[tarpc::service]
trait Service {
    async fn add_one(number: u64) -> u64;
    async fn work(steps: u64) -> u64;
    async fn echo(bytes: Blob) -> Blob;
}

#[derive(Clone)]
struct Server;

impl Service for Server {
    async fn add_one(self, _: context::Context, number: u64) -> u64 {
        plain_add_one(number)
    }

    async fn work(self, _: context::Context, steps: u64) -> u64 {
        crate::functions::plain_work(steps)
    }

    async fn echo(self, _: context::Context, bytes: Blob) -> Blob {
        plain_echo(bytes)
    }
}

type Codec<Item, SinkItem> = Bincode<Item, SinkItem>;

fn transport<Item, SinkItem>(
    socket: UnixStream,
) -> Transport<tokio::net::UnixStream, Item, SinkItem, Codec<Item, SinkItem>>
where
    Item: for<'a> Deserialize<'a>,
    SinkItem: Serialize,
{
    socket.set_nonblocking(true).expect("it is a socket");
    let socket = tokio::net::UnixStream::from_std(socket).expect("it is a socket");
    let frames = LengthDelimitedCodec::builder()
        .max_frame_length(LONGEST_MESSAGE)
        .new_framed(socket);
    serde_transport::new(frames, Bincode::default())
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an async runtime")
}

pub(crate) fn serve(socket: UnixStream) {
    runtime().block_on(async {
        let requests = BaseChannel::with_defaults(transport(socket)).execute(Server.serve());
        requests
            .for_each(|answer| async {
                tokio::spawn(answer);
            })
            .await;
    });
}

/// The servers, and the runtime on which the clients run.
pub(crate) struct Tarpc {
    runtime: Runtime,
    clients: Vec<ServiceClient>,
    _servers: Vec<Ended>,
}

impl Tarpc {
    pub(crate) fn start(servers: usize) -> Self {
        let runtime = runtime();
        let (sockets, servers): (Vec<_>, _) = (0..servers).map(|_| roles::start(ROLE, "")).unzip();
        let clients = runtime.block_on(async {
            let client =
                |socket| ServiceClient::new(client::Config::default(), transport(socket)).spawn();
            sockets.into_iter().map(client).collect()
        });
        Self {
            runtime,
            clients,
            _servers: servers,
        }
    }

    pub(crate) fn round_trips(&self, times: u32) {
        self.runtime.block_on(async {
            for _ in 0..times {
                let answer = self.clients[0].add_one(context::current(), 1).await;
                assert_eq!(answer.expect("a result"), 2);
            }
        });
    }

    pub(crate) fn echo(&self, bytes: Blob) -> Blob {
        let answer = self.clients[0].echo(context::current(), bytes);
        self.runtime.block_on(answer).expect("a result")
    }

    /// Sends numbers to all servers in turn, with this many calls in flight.
    pub(crate) fn map(&self, inputs: impl IntoIterator<Item = u64>, in_flight: usize) {
        let clients = self.clients.iter().cycle();
        let calls = inputs.into_iter().zip(clients);
        let calls = calls.map(|(number, client)| client.add_one(context::current(), number));
        self.run(calls, in_flight);
    }

    pub(crate) fn map_work(&self, inputs: impl IntoIterator<Item = u64>, in_flight: usize) {
        let clients = self.clients.iter().cycle();
        let calls = inputs.into_iter().zip(clients);
        let calls = calls.map(|(steps, client)| client.work(context::current(), steps));
        self.run(calls, in_flight);
    }

    pub(crate) fn map_bytes(&self, inputs: Vec<Blob>, in_flight: usize) {
        let clients = self.clients.iter().cycle();
        let calls = inputs.into_iter().zip(clients);
        let calls = calls.map(|(bytes, client)| client.echo(context::current(), bytes));
        self.run(calls, in_flight);
    }

    fn run<T, F>(&self, calls: impl Iterator<Item = F>, in_flight: usize)
    where
        F: Future<Output = Result<T, client::RpcError>>,
    {
        let answers = stream::iter(calls).buffered(in_flight);
        self.runtime.block_on(answers.for_each(async |answer| {
            std::hint::black_box(answer.expect("a result"));
        }));
    }
}
