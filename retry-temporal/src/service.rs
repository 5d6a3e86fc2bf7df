//! The calls to the server.
//!
//! They are functions without type parameters, so that this crate compiles the client's generic code, and not each
//! program that uses it. Each call has a time limit of its own: a connection that was cut says nothing.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Display;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use temporalio_client::envconfig::{ConfigError, LoadClientConfigProfileOptions};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::{Code, Request, Response, Status};
use temporalio_client::{
    ClientKeepAliveOptions, ClientOptions, Connection, ConnectionOptions, GrpcCompression, Url,
};
use temporalio_common::protos::temporal::api::activity::v1::activity_execution_outcome::Value;
use temporalio_common::protos::temporal::api::common::v1::{
    ActivityType, Header, Payload, Payloads, RetryPolicy,
};
use temporalio_common::protos::temporal::api::enums::v1::{
    ActivityIdConflictPolicy, ActivityIdReusePolicy, RetryState, TaskQueueType,
};
use temporalio_common::protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_common::protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure};
use temporalio_common::protos::temporal::api::sdk::v1::UserMetadata;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeActivityExecutionRequest, DescribeNamespaceRequest, DescribeTaskQueueRequest,
    ListTaskQueuePartitionsRequest, PollActivityExecutionRequest, PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse, RecordActivityTaskHeartbeatRequest,
    RequestCancelActivityExecutionRequest, RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedRequest, RespondActivityTaskFailedRequest, ShutdownWorkerRequest,
    StartActivityExecutionRequest,
};

use crate::backoff::{Backoff, random};

/// The limit of a call that the server answers at once.
const LIMIT: Duration = Duration::from_secs(10);

/// The limit of a call that the server answers when there is something to say, or after a minute.
pub(crate) const LONG_LIMIT: Duration = Duration::from_secs(70);

/// The limit of an attempt to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The time for which a connection is kept although a call has got no answer on it.
const LEAST_AGE: Duration = Duration::from_secs(5);

/// The time for which the clock of the server is not asked for again.
const CLOCK_IS_KNOWN: Duration = Duration::from_secs(5 * 60);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The time limit of an activity without a deadline, from the end of its delay.
const NO_DEADLINE: Duration = DAY.saturating_mul(30);

/// The shortest time limit of an activity: the server takes zero as none, and refuses it.
const LEAST_DEADLINE: Duration = Duration::from_millis(10);

/// The longest time that the server counts. It shortens longer ones, but a message has no room for all of them.
const LONGEST: Duration = DAY.saturating_mul(36_500);

/// The delay before an activity starts again because its machine is lost. The server takes zero for its default.
const NO_BACKOFF: Duration = Duration::from_millis(10);

/// The encoding of the payloads, which only this crate reads.
const ENCODING: &str = "binary/retry";

/// The field of an activity's header with the queue that its caller polls.
const CALLER: &str = "caller";

/// The type of the failure of an activity whose caller is gone.
const CALLER_GONE: &str = "CallerGone";

/// The type of the failure with which a machine hands a task back.
const HANDED_BACK: &str = "HandedBack";

/// The most bytes of a summary that the server takes are 400.
const SUMMARY: usize = 200;

/// The reason why a call to the server failed. The server may have carried it out nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The server cannot be reached, or has not answered in time.
    Away(String),
    /// The server limits the rate of calls.
    Busy,
    /// The server does not know the activity or the namespace.
    NotFound(String),
    /// The id was used before.
    Exists,
    /// The server does not let this process make the call, which may change.
    Denied(String),
    /// The server does not accept the call, and will not later.
    Refused(String),
}

/// A connection to one namespace of a server.
pub(crate) struct Service {
    options: ConnectionOptions,
    namespace: String,
    /// The address without anything secret, for messages.
    place: String,
    state: Mutex<State>,
    /// Held while a connection is being made.
    connecting: tokio::sync::Mutex<()>,
    has_answered: AtomicBool,
    /// The last time that the server has told by its clock, and when that was.
    clock: tokio::sync::Mutex<Option<(Instant, SystemTime)>>,
}

#[derive(Default)]
struct State {
    connection: Option<(Connection, Instant)>,
    failed: Option<(Instant, Problem)>,
}

/// An activity to be started.
pub(crate) struct Start<'a> {
    pub(crate) id: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) queue: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) summary: &'a str,
    pub(crate) delay: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) host_timeout: Duration,
    /// The queue that its caller polls, unless the activity goes on without it.
    pub(crate) caller: Option<&'a str>,
}

/// The end of an activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Completed(Vec<u8>),
    Canceled,
    /// It has not ended within this time.
    TimedOut(Duration),
    /// A machine has ended it because its caller was gone.
    Abandoned,
    Failed(String),
}

/// An attempt of an activity that this process is to make.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) token: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) ledger: Option<Vec<u8>>,
    pub(crate) waited: Duration,
    pub(crate) host_timeout: Duration,
    /// The queue that the caller polls, unless the activity goes on without it.
    pub(crate) caller: Option<String>,
    /// The time of the start, by the clock of the server.
    pub(crate) started: SystemTime,
}

/// The report of a machine about an attempt that has ended.
pub(crate) enum Report<'a> {
    Completed(&'a [u8]),
    /// The activity is started again after a delay, with this ledger.
    Again {
        delay: Duration,
        ledger: &'a [u8],
    },
    Cancelled,
    /// The activity has ended because its caller is gone.
    Abandoned,
    /// The activity has failed for good.
    Failed(&'a str),
}

#[cfg(not(feature = "testing"))]
fn no_deadline() -> Duration {
    NO_DEADLINE
}

/// Returns the time limit of an activity without a deadline, which a test may shorten.
#[cfg(feature = "testing")]
fn no_deadline() -> Duration {
    let seconds = std::env::var("TEMPORAL_TEST_LIMIT").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    seconds.map_or(NO_DEADLINE, Duration::from_secs)
}

/// Reads `temporal://host:port/namespace`, both of whose parts may be left out: the configuration of Temporal's own
/// clients has them then, as it has the keys and certificates.
///
/// # Errors
///
/// If the address or the configuration is invalid.
pub(crate) fn open(address: &str, identity: &str) -> Result<Service, String> {
    let rest = address
        .strip_prefix("temporal://")
        .ok_or("the address does not begin with temporal://")?;
    let (host, namespace) = rest.split_once('/').unwrap_or((rest, ""));
    let is_plain = |text: &str| !text.contains(['/', '?', '#', '@']);
    if !is_plain(host) || !is_plain(namespace) {
        // It may have a password.
        let shown = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        return Err(format!(
            "`temporal://{shown}` is no address such as temporal://queue.example:7233/default"
        ));
    }
    let (mut options, client) = ClientOptions::load_from_config(
        LoadClientConfigProfileOptions::default(),
    )
    .map_err(|error| format!("the configuration of Temporal's clients: {}", shown(&error)))?;
    if !host.is_empty() {
        let scheme = match options.tls_options.is_some() {
            true => "https",
            false => "http",
        };
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let port = if has_port { "" } else { ":7233" };
        options.target = Url::parse(&format!("{scheme}://{host}{port}"))
            .map_err(|error| format!("`{host}` is no server: {error}"))?;
    }
    options.identity = identity.to_owned();
    options.connect_timeout = Some(CONNECT_LIMIT);
    // Names are looked up for each connection.
    options.dns_load_balancing = None;
    // Bodies are compact, and the time is better spent on calls.
    options.grpc_compression = GrpcCompression::None;
    // The server refuses clients that ask more often than every 10 s.
    let keep_alive = ClientKeepAliveOptions::builder()
        .interval(Duration::from_secs(12))
        .timeout(Duration::from_secs(5));
    options.keep_alive = Some(keep_alive.build());
    let place = match (options.target.host_str(), options.target.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let namespace = match namespace {
        "" => client.namespace,
        namespace => namespace.to_owned(),
    };
    Ok(Service {
        options,
        namespace,
        place,
        state: Mutex::default(),
        connecting: tokio::sync::Mutex::new(()),
        has_answered: AtomicBool::new(false),
        clock: tokio::sync::Mutex::new(None),
    })
}

impl Service {
    /// Returns the address of the server, for people.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Returns whether the server has ever answered this process.
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// Starts an activity. Starting it again with the same id and contents has no effect.
    pub(crate) async fn start(&self, start: &Start<'_>) -> Result<(), Problem> {
        let reuse = ActivityIdReusePolicy::RejectDuplicate;
        let conflict = ActivityIdConflictPolicy::UseExisting;
        // The server counts the limit from the end of the delay.
        let limit = start.deadline.map_or_else(no_deadline, |deadline| {
            deadline.saturating_sub(start.delay).max(LEAST_DEADLINE)
        });
        let message = StartActivityExecutionRequest {
            namespace: self.namespace.clone(),
            identity: self.options.identity.clone(),
            request_id: start.id.to_owned(),
            activity_id: start.id.to_owned(),
            activity_type: Some(ActivityType {
                name: start.kind.to_owned(),
            }),
            task_queue: Some(queue(start.queue)),
            schedule_to_close_timeout: limit.min(LONGEST).try_into().ok(),
            heartbeat_timeout: start.host_timeout.try_into().ok(),
            retry_policy: Some(RetryPolicy {
                initial_interval: NO_BACKOFF.try_into().ok(),
                backoff_coefficient: 1.0,
                maximum_interval: NO_BACKOFF.try_into().ok(),
                ..RetryPolicy::default()
            }),
            input: Some(payloads(start.body)),
            id_reuse_policy: reuse.into(),
            id_conflict_policy: conflict.into(),
            user_metadata: Some(UserMetadata {
                summary: Some(text(start.summary)),
                details: None,
            }),
            header: start.caller.map(|caller| Header {
                fields: HashMap::from([(CALLER.to_owned(), payload(ENCODING, caller.as_bytes()))]),
            }),
            start_delay: match start.delay.is_zero() {
                true => None,
                false => start.delay.min(LONGEST).try_into().ok(),
            },
            ..StartActivityExecutionRequest::default()
        };
        let mut service = self.connected().await?;
        let call = service.start_activity_execution(limited(message, LIMIT));
        self.answer(LIMIT, call).await?;
        Ok(())
    }

    /// Waits for the end of an activity. Returns none if it is still to come.
    pub(crate) async fn result(&self, id: &str) -> Result<Option<Outcome>, Problem> {
        let message = PollActivityExecutionRequest {
            namespace: self.namespace.clone(),
            activity_id: id.to_owned(),
            ..PollActivityExecutionRequest::default()
        };
        let mut service = self.connected().await?;
        let call = service.poll_activity_execution(limited(message, LONG_LIMIT));
        let Some(polled) = self.long_answer(LONG_LIMIT, call).await? else {
            return Ok(None);
        };
        let Some(outcome) = polled.outcome else {
            return Ok(None);
        };
        // The server does not start a cancelled activity again when its machine is lost or hands it back.
        let is_cancelled = outcome.retry_state() == RetryState::CancelRequested;
        Ok(Some(match outcome.value {
            None => return Ok(None),
            Some(Value::Result(result)) => match first(Some(result)) {
                Some(answer) => Outcome::Completed(answer),
                None => Outcome::Failed("another program has completed the activity".to_owned()),
            },
            Some(Value::Failure(_)) if is_cancelled => Outcome::Canceled,
            Some(Value::Failure(failure)) => match failure.failure_info {
                Some(
                    FailureInfo::CanceledFailureInfo(_) | FailureInfo::TerminatedFailureInfo(_),
                ) => Outcome::Canceled,
                Some(FailureInfo::TimeoutFailureInfo(_)) => {
                    Outcome::TimedOut(self.limit(id).await?)
                }
                Some(FailureInfo::ApplicationFailureInfo(info)) => match info.r#type.as_str() {
                    CALLER_GONE => Outcome::Abandoned,
                    // The limit would have passed before the end of the delay.
                    HANDED_BACK => Outcome::TimedOut(self.limit(id).await?),
                    _ => Outcome::Failed(failure.message),
                },
                _ => Outcome::Failed(failure.message),
            },
        }))
    }

    /// Returns the time limit of an activity, from the end of its delay.
    async fn limit(&self, id: &str) -> Result<Duration, Problem> {
        let message = DescribeActivityExecutionRequest {
            namespace: self.namespace.clone(),
            activity_id: id.to_owned(),
            ..DescribeActivityExecutionRequest::default()
        };
        let mut service = self.connected().await?;
        let call = service.describe_activity_execution(limited(message, LIMIT));
        let info = match self.answer(LIMIT, call).await {
            Ok(described) => described.info,
            Err(problem @ (Problem::Away(_) | Problem::Busy)) => return Err(problem),
            // The program may not ask, or the server has forgotten the activity.
            Err(_) => None,
        };
        let limit = info.and_then(|info| info.schedule_to_close_timeout?.try_into().ok());
        Ok(limit.unwrap_or(NO_DEADLINE))
    }

    /// Asks for the end of an activity.
    pub(crate) async fn cancel(&self, id: &str) -> Result<(), Problem> {
        let message = RequestCancelActivityExecutionRequest {
            namespace: self.namespace.clone(),
            activity_id: id.to_owned(),
            identity: self.options.identity.clone(),
            request_id: format!("{id}/cancel"),
            reason: "the caller has cancelled the call".to_owned(),
            ..RequestCancelActivityExecutionRequest::default()
        };
        let mut service = self.connected().await?;
        let call = service.request_cancel_activity_execution(limited(message, LIMIT));
        self.answer(LIMIT, call).await?;
        Ok(())
    }

    /// Returns the names of the partitions of a queue, by which each can be asked who polls it.
    pub(crate) async fn partitions(&self, name: &str) -> Result<Vec<String>, Problem> {
        let message = ListTaskQueuePartitionsRequest {
            namespace: self.namespace.clone(),
            task_queue: Some(queue(name)),
        };
        let mut service = self.connected().await?;
        let call = service.list_task_queue_partitions(limited(message, LIMIT));
        let partitions = self.answer(LIMIT, call).await?;
        let partitions = partitions.activity_task_queue_partitions.into_iter();
        Ok(partitions.map(|one| one.key).collect())
    }

    /// Returns the identities of the machines that have polled a partition of a queue lately. The root has the name of the
    /// queue, and knows one machine of each other partition as well. The server tells of machines for minutes after they
    /// have ended.
    pub(crate) async fn pollers(
        &self,
        name: &str,
        lately: Duration,
    ) -> Result<Vec<String>, Problem> {
        let all = self.all_pollers(name).await?;
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let since = self.clock().await?.checked_sub(lately);
        let alive = all.into_iter().filter(|(_, at)| Some(*at) >= since);
        Ok(alive.map(|(identity, _)| identity).collect())
    }

    /// Returns the time by the clock of the server, from which that of this machine may differ. The server tells it for a
    /// poll, so this program polls a queue of its own from time to time.
    async fn clock(&self) -> Result<SystemTime, Problem> {
        let mut clock = self.clock.lock().await;
        let known = clock.filter(|(told_at, _)| told_at.elapsed() < CLOCK_IS_KNOWN);
        let (told_at, told) = match known {
            Some(known) => known,
            None => {
                let told = self.time_of_a_poll().await?;
                *clock.insert((Instant::now(), told))
            }
        };
        Ok(told + told_at.elapsed())
    }

    /// Polls a queue that only this process knows, and returns when that was by the clock of the server.
    async fn time_of_a_poll(&self) -> Result<SystemTime, Problem> {
        let name = format!("clock/{:016x}", random());
        let told = async {
            let mut backoff = Backoff::new();
            loop {
                backoff.wait().await;
                if let Some(at) = self.last_poll(&name).await? {
                    return Ok(at);
                }
            }
        };
        tokio::select! {
            told = told => told,
            polled = self.poll(&name, "clock", &name, LIMIT) => {
                polled?;
                Err(Problem::Busy)
            }
        }
    }

    /// Returns when a queue with a single poller was last polled, by the clock of the server.
    pub(crate) async fn last_poll(&self, name: &str) -> Result<Option<SystemTime>, Problem> {
        let all = self.all_pollers(name).await?;
        Ok(all.into_iter().map(|(_, at)| at).max())
    }

    /// Returns the identities of those that have polled a queue, with the time of the last poll of each.
    async fn all_pollers(&self, name: &str) -> Result<Vec<(String, SystemTime)>, Problem> {
        let message = DescribeTaskQueueRequest {
            namespace: self.namespace.clone(),
            task_queue: Some(queue(name)),
            task_queue_type: TaskQueueType::Activity.into(),
            ..DescribeTaskQueueRequest::default()
        };
        let mut service = self.connected().await?;
        let call = service.describe_task_queue(limited(message, LIMIT));
        let described = self.answer(LIMIT, call).await?;
        let pollers = described.pollers.into_iter().filter_map(|poller| {
            let at = poller.last_access_time?.try_into().ok()?;
            Some((poller.identity, at))
        });
        Ok(pollers.collect())
    }

    /// Waits for a task of a queue. Returns none if there was none until shortly before a time limit.
    pub(crate) async fn poll(
        &self,
        name: &str,
        identity: &str,
        key: &str,
        limit: Duration,
    ) -> Result<Option<Taken>, Problem> {
        let message = PollActivityTaskQueueRequest {
            namespace: self.namespace.clone(),
            task_queue: Some(queue(name)),
            identity: identity.to_owned(),
            worker_instance_key: key.to_owned(),
            ..PollActivityTaskQueueRequest::default()
        };
        let mut service = self.connected().await?;
        let call = service.poll_activity_task_queue(limited(message, limit));
        let polled = self.long_answer(limit, call).await?;
        Ok(polled
            .filter(|polled| !polled.task_token.is_empty())
            .map(taken))
    }

    /// Finds out whether the server answers and knows the namespace.
    pub(crate) async fn ping(&self) -> Result<(), Problem> {
        let message = DescribeNamespaceRequest {
            namespace: self.namespace.clone(),
            ..DescribeNamespaceRequest::default()
        };
        let mut service = self.connected().await?;
        let call = service.describe_namespace(limited(message, LIMIT));
        self.answer(LIMIT, call).await?;
        Ok(())
    }

    /// Tells the server that polls of a worker are at their end, so that it forgets them.
    pub(crate) async fn end_polls(
        &self,
        name: &str,
        identity: &str,
        key: &str,
    ) -> Result<(), Problem> {
        let mut service = self.connected().await?;
        let message = ShutdownWorkerRequest {
            namespace: self.namespace.clone(),
            identity: identity.to_owned(),
            reason: "the program ends".to_owned(),
            worker_instance_key: key.to_owned(),
            task_queue: name.to_owned(),
            task_queue_types: vec![TaskQueueType::Activity.into()],
            ..ShutdownWorkerRequest::default()
        };
        let call = service.shutdown_worker(limited(message, LIMIT));
        self.answer(LIMIT, call).await?;
        Ok(())
    }

    /// Shows that this process is alive. Returns whether the activity is to end.
    pub(crate) async fn heartbeat(
        &self,
        token: &[u8],
        ledger: &[u8],
        limit: Duration,
    ) -> Result<bool, Problem> {
        let message = RecordActivityTaskHeartbeatRequest {
            task_token: token.to_vec(),
            details: Some(payloads(ledger)),
            identity: self.options.identity.clone(),
            namespace: self.namespace.clone(),
            ..RecordActivityTaskHeartbeatRequest::default()
        };
        let mut service = self.connected().await?;
        let call = service.record_activity_task_heartbeat(limited(message, limit));
        Ok(self.answer(limit, call).await?.cancel_requested)
    }

    /// Reports the end of an attempt.
    pub(crate) async fn report(&self, token: &[u8], report: &Report<'_>) -> Result<(), Problem> {
        match report {
            Report::Completed(answer) => self.completed(token, answer).await,
            Report::Cancelled => self.cancelled(token).await,
            Report::Again { delay, ledger } => {
                let info = ApplicationFailureInfo {
                    r#type: HANDED_BACK.to_owned(),
                    next_retry_delay: (*delay).clamp(NO_BACKOFF, LONGEST).try_into().ok(),
                    ..ApplicationFailureInfo::default()
                };
                let failure = failure("handed back, to go on elsewhere", info);
                self.failed(token, failure, Some(payloads(ledger))).await
            }
            Report::Abandoned => {
                let info = ApplicationFailureInfo {
                    r#type: CALLER_GONE.to_owned(),
                    non_retryable: true,
                    ..ApplicationFailureInfo::default()
                };
                let failure = failure("the caller was not heard of for a minute", info);
                self.failed(token, failure, None).await
            }
            Report::Failed(message) => {
                let info = ApplicationFailureInfo {
                    non_retryable: true,
                    ..ApplicationFailureInfo::default()
                };
                self.failed(token, failure(message, info), None).await
            }
        }
    }

    async fn completed(&self, token: &[u8], answer: &[u8]) -> Result<(), Problem> {
        let message = RespondActivityTaskCompletedRequest {
            task_token: token.to_vec(),
            result: Some(payloads(answer)),
            identity: self.options.identity.clone(),
            namespace: self.namespace.clone(),
            ..RespondActivityTaskCompletedRequest::default()
        };
        let mut service = self.connected().await?;
        let call = service.respond_activity_task_completed(limited(message, LIMIT));
        self.answer(LIMIT, call).await?;
        Ok(())
    }

    async fn cancelled(&self, token: &[u8]) -> Result<(), Problem> {
        let message = RespondActivityTaskCanceledRequest {
            task_token: token.to_vec(),
            identity: self.options.identity.clone(),
            namespace: self.namespace.clone(),
            ..RespondActivityTaskCanceledRequest::default()
        };
        let mut service = self.connected().await?;
        let call = service.respond_activity_task_canceled(limited(message, LIMIT));
        self.answer(LIMIT, call).await?;
        Ok(())
    }

    async fn failed(
        &self,
        token: &[u8],
        failure: Failure,
        ledger: Option<Payloads>,
    ) -> Result<(), Problem> {
        let message = RespondActivityTaskFailedRequest {
            task_token: token.to_vec(),
            failure: Some(failure),
            identity: self.options.identity.clone(),
            namespace: self.namespace.clone(),
            last_heartbeat_details: ledger,
            ..RespondActivityTaskFailedRequest::default()
        };
        let mut service = self.connected().await?;
        let call = service.respond_activity_task_failed(limited(message, LIMIT));
        self.answer(LIMIT, call).await?;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connection, which is made on first use. It reconnects by itself.
    async fn connected(&self) -> Result<Box<dyn WorkflowService>, Problem> {
        let current = || {
            let state = self.state();
            let connection = state.connection.as_ref();
            connection.map(|(connection, _)| connection.workflow_service())
        };
        if let Some(service) = current() {
            return Ok(service);
        }
        let asked = Instant::now();
        let _connecting = self.connecting.lock().await;
        if let Some(service) = current() {
            return Ok(service);
        }
        // Those that have waited for an attempt share its result.
        if let Some((at, problem)) = &self.state().failed
            && *at >= asked
        {
            return Err(problem.clone());
        }
        let connecting = Box::pin(Connection::connect(self.options.clone()));
        let result = match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.not_connected(&error)),
            Err(_) => Err(Problem::Away(format!("no answer within {CONNECT_LIMIT:?}"))),
        };
        let now = Instant::now();
        let mut state = self.state();
        match result {
            Ok(connection) => {
                self.has_answered.store(true, Ordering::Relaxed);
                let service = connection.workflow_service();
                state.connection = Some((connection, now));
                state.failed = None;
                Ok(service)
            }
            Err(problem) => {
                state.failed = Some((now, problem.clone()));
                Err(problem)
            }
        }
    }

    fn not_connected(&self, error: &temporalio_client::errors::ClientConnectError) -> Problem {
        use temporalio_client::errors::ClientConnectError as Reason;
        match error {
            Reason::SystemInfoCallError(status) => problem(status),
            Reason::TonicTransportError(error) => {
                let reason = innermost(error);
                // Neither the server nor this process gets another one by itself.
                match reason.to_lowercase().contains("certificate") {
                    true => Problem::Refused(reason),
                    false => Problem::Away(reason),
                }
            }
            Reason::DnsResolutionError { source, .. } => Problem::Away(source.to_string()),
            error => Problem::Refused(error.to_string()),
        }
    }

    /// Waits for the answer to a call that the server answers at once.
    async fn answer<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Problem> {
        // The server and the client know the limit, but a cut connection may keep the client from it.
        match tokio::time::timeout(limit + limit / 10, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => {
                if matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded) {
                    self.renew();
                }
                Err(problem(&status))
            }
            Err(_) => {
                self.renew();
                Err(Problem::Away(format!("no answer within {limit:?}")))
            }
        }
    }

    /// Waits for the answer to a call that may have none until its limit.
    async fn long_answer<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Option<T>, Problem> {
        match tokio::time::timeout(limit + limit / 10, call).await {
            Ok(Ok(response)) => Ok(Some(response.into_inner())),
            Err(_) => Ok(None),
            Ok(Err(status)) => match status.code() {
                Code::DeadlineExceeded => Ok(None),
                // The limit of the client. A connection that is lost has the same code.
                Code::Cancelled if status.message() == "Timeout expired" => Ok(None),
                _ => Err(problem(&status)),
            },
        }
    }

    /// Lets the next call make a connection, because this one may be cut.
    pub(crate) fn renew(&self) {
        let mut state = self.state();
        state
            .connection
            .take_if(|(_, since)| since.elapsed() > LEAST_AGE);
    }
}

/// Returns what is wrong with the configuration, without the line of a file that may have a key in it.
fn shown(error: &ConfigError) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

fn problem(status: &Status) -> Problem {
    let message = || match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    match status.code() {
        Code::NotFound => Problem::NotFound(message()),
        Code::AlreadyExists => Problem::Exists,
        Code::ResourceExhausted if status.message().contains("larger than max") => {
            Problem::Refused(message())
        }
        Code::ResourceExhausted => Problem::Busy,
        // Something between this process and the server has answered.
        _ if status.message().starts_with("grpc-status header missing") => Problem::Away(message()),
        Code::PermissionDenied | Code::Unauthenticated | Code::FailedPrecondition => {
            Problem::Denied(message())
        }
        Code::InvalidArgument | Code::Unimplemented => Problem::Refused(message()),
        _ => Problem::Away(match status.source() {
            Some(source) => innermost(source),
            None => message(),
        }),
    }
}

/// Returns the text of the error that has caused another.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost: &dyn Display = error;
    let mut next = error.source();
    while let Some(error) = next {
        innermost = error;
        next = error.source();
    }
    innermost.to_string()
}

fn limited<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

fn queue(name: &str) -> TaskQueue {
    TaskQueue {
        name: name.to_owned(),
        ..TaskQueue::default()
    }
}

fn failure(message: &str, info: ApplicationFailureInfo) -> Failure {
    Failure {
        message: message.to_owned(),
        source: "retry-temporal".to_owned(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
        ..Failure::default()
    }
}

fn payload(encoding: &str, data: &[u8]) -> Payload {
    Payload {
        metadata: HashMap::from([("encoding".to_owned(), encoding.as_bytes().to_vec())]),
        data: data.to_vec(),
        ..Payload::default()
    }
}

fn payloads(data: &[u8]) -> Payloads {
    Payloads {
        payloads: vec![payload(ENCODING, data)],
    }
}

/// Returns a text as user interfaces show it.
fn text(text: &str) -> Payload {
    let mut json = String::from("\"");
    for character in text.chars().filter(|one| !one.is_control()) {
        if json.len() > SUMMARY {
            break;
        }
        if matches!(character, '"' | '\\') {
            json.push('\\');
        }
        json.push(character);
    }
    json.push('"');
    payload("json/plain", json.as_bytes())
}

/// Returns the bytes of payloads of this crate.
fn first(payloads: Option<Payloads>) -> Option<Vec<u8>> {
    let payload = payloads?.payloads.into_iter().next()?;
    let encoding = payload.metadata.get("encoding")?;
    (encoding == ENCODING.as_bytes()).then_some(payload.data)
}

fn taken(polled: PollActivityTaskQueueResponse) -> Taken {
    let time = |at: Option<SystemTime>| at.unwrap_or(SystemTime::UNIX_EPOCH);
    let scheduled = time(polled.scheduled_time.and_then(|at| at.try_into().ok()));
    let started = time(polled.started_time.and_then(|at| at.try_into().ok()));
    let caller = polled.header.and_then(|mut header| {
        let payloads = vec![header.fields.remove(CALLER)?];
        String::from_utf8(first(Some(Payloads { payloads }))?).ok()
    });
    let host_timeout = polled.heartbeat_timeout.and_then(|one| one.try_into().ok());
    Taken {
        token: polled.task_token,
        body: first(polled.input).unwrap_or_default(),
        ledger: first(polled.heartbeat_details),
        waited: started.duration_since(scheduled).unwrap_or_default(),
        host_timeout: host_timeout.unwrap_or_default(),
        caller,
        started,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_server_and_a_namespace() {
        let service = open("temporal://queue.example/shop", "").unwrap();
        assert_eq!(service.place(), "queue.example:7233");
        assert_eq!(service.namespace, "shop");
        let service = open("temporal://[::1]:7000", "").unwrap();
        assert_eq!(service.place(), "[::1]:7000");
        for wrong in [
            "relay://queue.example",
            "temporal://queue.example/a/b",
            "temporal://queue.example:70000",
            "temporal://key@queue.example",
        ] {
            assert!(open(wrong, "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn summaries_are_texts_in_json() {
        assert_eq!(text("a \"b\"\n[0..3]").data, br#""a \"b\"[0..3]""#);
        assert!(text(&"\\".repeat(1000)).data.len() < 400);
    }
}
