//! A proxy in front of a server, which can deny requests as the authorisation of a server does, or answer them itself.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use crate::Server;

/// A proxy for clients of a server. It ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    rules: Arc<Mutex<Rules>>,
    _runtime: Runtime,
}

#[derive(Default)]
struct Rules {
    /// The beginning of the names of methods that are not passed on, and the answer.
    own: Option<(&'static str, Answer)>,
    /// The times of the requests that were passed on, and of the others, by the names of their methods.
    passed: BTreeMap<String, Vec<Instant>>,
    answered: BTreeMap<String, Vec<Instant>>,
}

/// The answer of the proxy itself.
#[derive(Clone, Copy)]
enum Answer {
    Denied,
    /// A message without fields.
    Empty,
}

impl Proxy {
    /// Lets tokio open the descriptors that it never closes, before those of a test are counted.
    pub fn prepare() {
        drop(runtime());
    }

    /// Starts a proxy for a server in this network namespace.
    #[must_use]
    pub fn start(server: &Server) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let rules = Arc::<Mutex<Rules>>::default();
        let (place, known) = (server.place().parse().unwrap(), Arc::clone(&rules));
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let rules = Arc::clone(&known);
                // The end of a client or of the server is none of the proxy.
                tokio::spawn(async move { serve(client, place, &rules).await.ok() });
            }
        });
        Self {
            address,
            rules,
            _runtime: runtime,
        }
    }

    /// Returns the address for `RETRY_ENGINE`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("temporal://{}/default", self.address)
    }

    /// Denies the methods whose names begin so, from now on, and no others.
    pub fn deny(&self, methods: &'static str) {
        lock(&self.rules).own = Some((methods, Answer::Denied));
    }

    /// Answers the methods whose names begin so at once with an empty message, from now on, and no others.
    pub fn answer(&self, methods: &'static str) {
        lock(&self.rules).own = Some((methods, Answer::Empty));
    }

    /// Passes all requests on again.
    pub fn allow(&self) {
        lock(&self.rules).own = None;
    }

    /// Returns the times of the requests with a method that were passed on to the server.
    #[must_use]
    pub fn passed(&self, method: &str) -> Vec<Instant> {
        lock(&self.rules)
            .passed
            .get(method)
            .cloned()
            .unwrap_or_default()
    }

    /// Returns the times of the requests with a method that were denied, or answered here.
    #[must_use]
    pub fn answered(&self, method: &str) -> Vec<Instant> {
        lock(&self.rules)
            .answered
            .get(method)
            .cloned()
            .unwrap_or_default()
    }
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_io().build().unwrap()
}

fn lock(rules: &Mutex<Rules>) -> MutexGuard<'_, Rules> {
    rules.lock().unwrap_or_else(PoisonError::into_inner)
}

type Ended = Result<(), Box<dyn Error + Send + Sync>>;

/// Passes the requests on that come on a connection.
async fn serve(client: TcpStream, server: SocketAddr, rules: &Arc<Mutex<Rules>>) -> Ended {
    let mut requests = h2::server::handshake(client).await?;
    let server = TcpStream::connect(server).await?;
    let (sender, connection) = h2::client::handshake(server).await?;
    tokio::spawn(connection);
    while let Some(request) = requests.accept().await {
        let (request, respond) = request?;
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let mut rules = lock(rules);
        let own = rules.own.filter(|(begin, _)| method.starts_with(begin));
        let log = match own {
            Some(_) => &mut rules.answered,
            None => &mut rules.passed,
        };
        log.entry(method.to_owned())
            .or_default()
            .push(Instant::now());
        drop(rules);
        match own {
            Some((_, Answer::Denied)) => deny(respond)?,
            Some((_, Answer::Empty)) => answer(respond)?,
            None => {
                let sender = sender.clone();
                tokio::spawn(async move { pass(request, respond, sender).await.ok() });
            }
        }
    }
    Ok(())
}

fn deny(mut respond: SendResponse<Bytes>) -> Ended {
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", "7")
        .header("grpc-message", "not now");
    respond.send_response(response.body(())?, true)?;
    Ok(())
}

fn answer(mut respond: SendResponse<Bytes>) -> Ended {
    let response = Response::builder().header("content-type", "application/grpc");
    let mut stream = respond.send_response(response.body(())?, false)?;
    // Neither compressed nor any byte long.
    stream.send_data(Bytes::from_static(&[0; 5]), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)?;
    Ok(())
}

async fn pass(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    sender: SendRequest<Bytes>,
) -> Ended {
    let (head, body) = request.into_parts();
    let mut sender = sender.ready().await?;
    let (response, there) = sender.send_request(Request::from_parts(head, ()), false)?;
    let answered = async {
        copy(body, there).await?;
        Ok::<_, Box<dyn Error + Send + Sync>>(response.await?)
    };
    let response = tokio::select! {
        response = answered => response?,
        // The client has given it up, and so does this.
        reset = poll_fn(|context| respond.poll_reset(context)) => {
            reset?;
            return Ok(());
        }
    };
    let (head, body) = response.into_parts();
    let is_over = body.is_end_stream();
    let back = respond.send_response(Response::from_parts(head, ()), is_over)?;
    match is_over {
        true => Ok(()),
        false => copy(body, back).await,
    }
}

async fn copy(mut from: RecvStream, mut to: SendStream<Bytes>) -> Ended {
    while let Some(data) = from.data().await {
        let data = data?;
        from.flow_control().release_capacity(data.len())?;
        to.send_data(data, false)?;
    }
    match from.trailers().await? {
        Some(trailers) => to.send_trailers(trailers)?,
        None => to.send_data(Bytes::new(), true)?,
    }
    Ok(())
}
