//! What of a node can change while it runs, without a restart and without a dropped connection.

use crate::settings::{exchange_config, proxy_http};
use piko_config::reload::Part;
use piko_config::{RebalanceOptions, ServerOptions};
use piko_core::http1;
use piko_core::proxy::Config;
use piko_driver::Setting;
use piko_observe::access::{AccessLog, AccessOptions};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

/// Shared by the proxy port and whoever reads the configuration anew: a [`Part`] of every reload.
#[derive(Debug)]
pub(crate) struct Live {
    limits: RwLock<Limits>,
    /// Of client connections that begin.
    pub(crate) http: Setting<http1::Config>,
    pub(crate) access: AccessLog,
}

/// Plain values, so that a request copies none and a reader never waits for a slow writer.
#[derive(Clone, Debug)]
struct Limits {
    exchange: Config,
    drain_delay: Duration,
    grace_period: Duration,
    rebalance: RebalanceOptions,
}

impl Limits {
    fn of(options: &ServerOptions) -> Self {
        let exchange = exchange_config(options);
        Self {
            exchange,
            drain_delay: options.drain_delay,
            grace_period: options.grace_period,
            rebalance: options.upstream.rebalance.clone(),
        }
    }
}

fn access(options: &ServerOptions) -> AccessOptions {
    AccessOptions::configured("proxy.access", &options.proxy.access_log, &options.log)
}

impl Live {
    pub(crate) fn new(options: &ServerOptions) -> Arc<Self> {
        let access = AccessLog::new(access(options));
        Arc::new(Self { limits: RwLock::new(Limits::of(options)), http: proxy_http(options).into(), access })
    }

    fn limits(&self) -> RwLockReadGuard<'_, Limits> {
        self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` with the limits of an exchange that begins.
    pub(crate) fn with_exchange<T>(&self, f: impl FnOnce(&Config) -> T) -> T {
        f(&self.limits().exchange)
    }

    pub(crate) fn drain_delay(&self) -> Duration {
        self.limits().drain_delay
    }

    pub(crate) fn grace_period(&self) -> Duration {
        self.limits().grace_period
    }

    pub(crate) fn rebalance(&self) -> RebalanceOptions {
        self.limits().rebalance.clone()
    }
}

/// [`Part`] for an [`Arc`], since what is prepared outlives the question.
#[derive(Debug)]
pub(crate) struct LivePart(pub(crate) Arc<Live>);

impl Part<ServerOptions> for LivePart {
    /// Options that could be read can be taken over.
    fn prepare(&self, options: &ServerOptions) -> Result<Box<dyn FnOnce() + Send>, String> {
        let live = self.0.clone();
        let (limits, access, log) = (Limits::of(options), access(options), (&options.log).into());
        let http = proxy_http(options);
        Ok(Box::new(move || {
            piko_observe::log::set(log);
            live.access.set(access);
            live.http.set(http);
            *live.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        }))
    }
}
