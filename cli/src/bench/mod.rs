//! `piko bench http`: upstreams that echo, clients that check every answer, and an honest count.
//!
//! ```text
//! clients ──► proxy port ══ tunnels ══► upstreams of this process
//! ```
//!
//! Upstreams and clients share one thread, and with a server on the same machine they compete with it: the figure is a
//! lower bound of what the server can do.

mod client;
mod result;
mod upstream;

use crate::output::say;
use crate::signals::Signals;
use client::{Client, Failure};
use piko_client::{Event, Listener, Upstream, Url};
use piko_config::{BenchOptions, ConnectUrl};
use piko_core::rng::Rng;
use piko_driver::random_bytes;
use piko_driver::tls::{ClientFiles, Connector};
use piko_observe::log;
use piko_runtime_tokio::Tokio;
use result::Tally;
use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// An answer that takes longer is a failure: the server itself gives up after 30 s unless it is told otherwise.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Between two looks whether an endpoint is known to the node that is asked.
const READY_PAUSE: Duration = Duration::from_millis(20);

/// Runs the bench. A signal ends it early, with the result so far.
pub(crate) fn run(options: &BenchOptions) -> ExitCode {
    for notice in &options.notices {
        piko_observe::complain(notice);
    }
    if log::init((&options.log).into()).is_err() {
        piko_observe::complain("failed to setup logger: a log is installed already");
        return ExitCode::FAILURE;
    }
    piko_server::program::raise_file_limit();
    let local = LocalSet::new();
    piko_runtime_tokio::block_on(|rt| {
        local.run_until(async move {
            match bench(rt, options).await {
                Ok(code) => code,
                Err(error) => {
                    tracing::error!(target: "main", error, "failed to run benchmark");
                    ExitCode::FAILURE
                }
            }
        })
    })
}

/// What every client needs to know.
struct Plan {
    rt: Tokio,
    host: String,
    port: u16,
    /// For the proxy port at an https URL.
    tls: Option<Arc<Connector>>,
    /// The value of `Host`.
    authority: String,
    path: String,
    /// Those that have an upstream.
    endpoints: u64,
    size: usize,
    timeout: Duration,
}

impl Plan {
    fn new(rt: Tokio, options: &BenchOptions, tls: Option<Arc<Connector>>) -> Self {
        let ConnectUrl { host, port, prefix, query, .. } = &options.proxy_url;
        let mut path = if prefix.is_empty() { "/".to_owned() } else { prefix.clone() };
        if let Some(query) = query {
            path = path + "?" + query;
        }
        Self {
            rt,
            host: host.clone(),
            port: *port,
            tls: tls.filter(|_| options.proxy_url.tls),
            authority: options.proxy_url.authority(),
            path,
            endpoints: options.endpoints.min(options.upstreams) as u64,
            size: options.size,
            timeout: options.timeout,
        }
    }
}

/// How https URLs are spoken with, if there is one: with the authorities of the machine, as in Go.
fn connector(options: &BenchOptions) -> Result<Option<Arc<Connector>>, String> {
    if !options.proxy_url.tls && !options.upstream_url.tls {
        return Ok(None);
    }
    match Connector::new(ClientFiles::default(), piko_server::program::crypto()) {
        Ok(connector) => Ok(Some(Arc::new(connector))),
        Err(error) => Err(format!("tls: {error}")),
    }
}

/// What clients share: how many requests are still to be sent, and what became of the others.
struct Shared {
    left: usize,
    tally: Tally,
}

impl Shared {
    /// Takes a request; false when there is none left.
    fn take(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

async fn bench(rt: Tokio, options: &BenchOptions) -> Result<ExitCode, String> {
    let mut signals = Signals::new().map_err(|error| error.to_string())?;
    let tls = connector(options)?;
    let plan = Rc::new(Plan::new(rt.clone(), options, tls.clone()));
    let prepared = tokio::select! {
        prepared = prepare(&rt, &plan, options, tls) => prepared?,
        _ = signals.next() => return Err("interrupted before the first request".to_owned()),
    };
    tracing::info!(
        target: "bench",
        { requests = options.requests, clients = options.clients, endpoints = plan.endpoints, upstreams = prepared.len() },
        "starting benchmark"
    );
    let shared = Rc::new(RefCell::new(Shared { left: options.requests, tally: Tally::default() }));
    let start = Instant::now();
    let workers: Vec<_> = (0..options.clients.min(options.requests))
        .map(|_| {
            let (plan, shared) = (plan.clone(), shared.clone());
            let rng = seed().map(Rng::new)?;
            Ok(tokio::task::spawn_local(async move { work(&plan, &shared, rng).await }))
        })
        .collect::<Result<_, String>>()?;
    let all = async {
        for worker in workers {
            // It returns nothing and does not panic.
            let _ = worker.await;
        }
    };
    tokio::select! {
        () = all => {}
        signal = signals.next() => tracing::info!(target: "main", signal, "received shutdown signal"),
    }
    let took = start.elapsed();
    let shared = shared.borrow();
    say(shared.tally.report(took));
    drop(prepared);
    Ok(if shared.tally.has_failures() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Brings the upstreams up, and waits until the proxy port knows every endpoint: what a cluster needs to spread the
/// news is not what is measured.
async fn prepare(
    rt: &Tokio,
    plan: &Plan,
    options: &BenchOptions,
    tls: Option<Arc<Connector>>,
) -> Result<Vec<Rc<Listener<Tokio>>>, String> {
    let url = &options.upstream_url;
    let mut upstream = Upstream::to(rt.clone(), Url::from_parts(url.tls, &url.host, url.port, &url.prefix));
    if let Some(tls) = tls {
        upstream = upstream.tls(tls);
    }
    // Why the last attempt failed: an attempt is tried again until there is no time left.
    let last = Arc::new(Mutex::new(String::new()));
    let told = last.clone();
    let upstream = upstream.on_event(move |event| {
        if let Event::Failed { error, .. } = event {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = format!(": {error}");
        }
    });
    let mut listeners = Vec::with_capacity(options.upstreams);
    for n in 0..options.upstreams {
        let endpoint = endpoint(n as u64 % plan.endpoints);
        let listener = timeout(options.timeout, upstream.listen(&endpoint))
            .await
            .map_err(|_| {
                let why = last.lock().unwrap_or_else(PoisonError::into_inner);
                format!("connect: {url}: no connection within {:?}{why}", options.timeout)
            })?
            .map_err(|error| error.to_string())?;
        let listener = Rc::new(listener);
        upstream::serve(rt.clone(), listener.clone());
        listeners.push(listener);
    }
    let until = Instant::now() + options.timeout;
    for n in 0..plan.endpoints {
        let mut before = None;
        while let Err(failure) = probe(plan, n, until).await {
            if Instant::now() >= until {
                // The last try had next to no time, so the one before it knows more.
                let failure = before.unwrap_or(failure);
                return Err(format!("{}: {}: {failure}", options.proxy_url, endpoint(n)));
            }
            before = Some(failure);
            sleep(READY_PAUSE).await;
        }
    }
    Ok(listeners)
}

async fn probe(plan: &Plan, n: u64, until: Instant) -> Result<(), Failure> {
    let ask = async { Client::connect(plan).await?.ask(plan, &endpoint(n), b"ready?").await };
    timeout_at(until, ask).await.unwrap_or(Err(Failure::Timeout)).map(drop)
}

/// One client: one request after the other, over one connection for as long as that lasts.
async fn work(plan: &Plan, shared: &RefCell<Shared>, mut rng: Rng) {
    let mut kept = None;
    let mut body = vec![0; plan.size];
    while shared.borrow_mut().take() {
        fill(&mut body, &mut rng);
        let endpoint = endpoint(rng.below(plan.endpoints));
        let start = Instant::now();
        let asked = timeout(ANSWER_MAX, async {
            let mut client = match kept.take() {
                Some(client) => client,
                None => Client::connect(plan).await?,
            };
            let again = client.ask(plan, &endpoint, &body).await?;
            Ok(again.then_some(client))
        });
        let outcome = asked.await.unwrap_or(Err(Failure::Timeout));
        let took = start.elapsed();
        let tally = &mut shared.borrow_mut().tally;
        match outcome {
            Ok(again) => {
                kept = again;
                tally.answered(took);
            }
            Err(failure) => tally.failed(&endpoint, failure),
        }
    }
}

/// Go's bench names them so, too.
fn endpoint(n: u64) -> String {
    format!("endpoint-{n}")
}

fn fill(body: &mut [u8], rng: &mut Rng) {
    for piece in body.chunks_mut(8) {
        piece.copy_from_slice(&rng.next_u64().to_ne_bytes()[..piece.len()]);
    }
}

fn seed() -> Result<u64, String> {
    random_bytes().map(u64::from_ne_bytes).map_err(|error| error.to_string())
}
