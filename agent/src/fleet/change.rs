//! A new configuration for an agent that runs: its log, its listeners, what they serve and how they reach the server.

use super::{Fleet, Phase, Running, State, Tunnel, Way, token};
use crate::agent::access_options;
use crate::tls::{Link, Prepared, ServerLink};
use piko_config::reload::{Part, Reload};
use piko_config::{AgentOptions, ListenerOptions};
use piko_driver::{Reread, Runtime};
use std::path::PathBuf;
use std::sync::Arc;

/// What reads the configuration again; `None` where it is in no file.
pub(super) fn configuration<R: Runtime>(
    options: &AgentOptions,
    fleet: &Fleet<R>,
) -> Option<Arc<dyn piko_driver::Reload>> {
    let mut reload = Reload::new(&options.start, piko_config::process_env, AgentOptions::from_values);
    reload.add(Arc::new(fleet.clone()), options);
    let configuration = Reread::new(reload, Reload::files, |reload| {
        reload.reload().map(|reloaded| piko_observe::log::reloaded(&reloaded))
    });
    let has_files = configuration.has_files();
    has_files.then(|| -> Arc<dyn piko_driver::Reload> { Arc::new(configuration) })
}

impl<R: Runtime> Part<AgentOptions> for Fleet<R> {
    /// Tokens out of files are part of the options.
    fn files(&self, options: &AgentOptions) -> Vec<PathBuf> {
        options.secret_files.clone()
    }

    fn prepare(&self, options: &AgentOptions) -> Result<Box<dyn FnOnce() + Send>, String> {
        let prepared = self.lock().connectors.prepare(options).map_err(|error| error.to_string())?;
        let (fleet, options) = (self.clone(), options.clone());
        Ok(Box::new(move || fleet.change(&options, prepared)))
    }
}

impl<R: Runtime> Fleet<R> {
    /// From the listeners that are there to those of the options. What is not another one is not touched.
    fn change(&self, options: &AgentOptions, prepared: Prepared) {
        let mut state = self.lock();
        if state.phase != Phase::Running {
            return;
        }
        piko_observe::log::set((&options.log).into());
        state.grace = options.grace_period;
        let (links, parts) = state.connectors.take(prepared);
        self.0.reloader.replace_others(parts);
        let mut before = std::mem::take(&mut state.running);
        for (listener, (server, link)) in options.listeners.iter().zip(links) {
            // Of several listeners of one endpoint the first one is the first one.
            let same = before.iter().position(|running| running.options.endpoint == listener.endpoint);
            let running = match same.map(|at| before.remove(at)) {
                Some(mut running) => {
                    self.serve_otherwise(&mut running, options, listener, link);
                    self.connect_otherwise(&mut running, options, listener, &server);
                    running.options = listener.clone();
                    Ok(running)
                }
                None => self.make(options, listener, &server, link).inspect(|_| {
                    tracing::info!(target: "main", { "endpoint-id" = listener.endpoint }, "listener added");
                }),
            };
            match running {
                Ok(running) => state.running.push(running),
                // What cannot be sent was refused with the configuration.
                Err(error) => tracing::error!(target: "main", %error, "no such listener"),
            }
        }
        for running in before {
            tracing::info!(target: "main", { "endpoint-id" = running.options.endpoint }, "listener removed");
            running.next.into_iter().for_each(|next| self.retire(&state, next));
            self.retire(&state, running.tunnel);
        }
    }

    /// Another service for streams that begin, unless it is the same.
    fn serve_otherwise(
        &self,
        running: &mut Running<R>,
        options: &AgentOptions,
        listener: &ListenerOptions,
        link: Link,
    ) {
        running.access.set(access_options(listener, options));
        let old = &running.options;
        let is_same = old.addr == listener.addr
            && old.protocol == listener.protocol
            && old.timeout == listener.timeout
            && old.proxy_protocol == listener.proxy_protocol
            && old.pool == listener.pool
            && running.link == link;
        if !is_same {
            running.slot.set(Arc::new(self.0.maker.service(listener, &link, &running.access)));
            running.link = link;
        }
    }

    /// Another tunnel, unless it would be the same; the one that is there drains once the other one is up.
    fn connect_otherwise(
        &self,
        running: &mut Running<R>,
        options: &AgentOptions,
        listener: &ListenerOptions,
        server: &ServerLink,
    ) {
        let token = token(options, listener);
        for tunnel in running.next.iter().chain([&running.tunnel]) {
            // Refused with the configuration when it cannot be sent.
            let _ = tunnel.upstream.set_token(token.map(|token| token.reveal().to_owned()));
        }
        let way = Way::of(options, listener, server);
        if running.next.as_ref().is_some_and(|next| next.way.is(&way)) {
            return;
        }
        if let Some(next) = running.next.take() {
            next.listener.shutdown();
        }
        // One that was refused gets another chance, since what the server did not like may be what is new.
        if running.tunnel.way.is(&way) && !running.is_refused {
            return;
        }
        match self.tunnel(options, listener, server, &running.slot) {
            Ok(next) if running.is_refused => {
                running.tunnel = next;
                running.is_refused = false;
            }
            Ok(next) => {
                tracing::info!(target: "main", { "endpoint-id" = listener.endpoint }, "connecting anew for new settings");
                self.wait_for(&next);
                running.next = Some(next);
            }
            Err(error) => tracing::error!(target: "main", %error, "no such listener"),
        }
    }

    /// Puts `next` in its place once it is up.
    fn wait_for(&self, next: &Tunnel<R>) {
        let (fleet, listener) = (self.clone(), next.listener.clone());
        self.0.rt.spawn(async move {
            let up = listener.connected().await;
            let mut state = fleet.lock();
            let own = |running: &&mut Running<R>| {
                running.next.as_ref().is_some_and(|next| Arc::ptr_eq(&next.listener, &listener))
            };
            // Other settings may have come meanwhile.
            let Some(running) = state.running.iter_mut().find(own) else { return };
            let Some(next) = running.next.take() else { return };
            if up.is_err() {
                let endpoint = &running.options.endpoint;
                tracing::error!(target: "main", { "endpoint-id" = endpoint }, "the old tunnel stays");
                return;
            }
            let old = std::mem::replace(&mut running.tunnel, next);
            fleet.retire(&state, old);
        });
    }

    /// Lets a tunnel end when its streams have, within the grace period.
    fn retire(&self, state: &State<R>, tunnel: Tunnel<R>) {
        let (grace, guard) = (state.grace, self.0.maker.tasks.enter());
        self.0.rt.spawn(async move {
            tunnel.listener.close(grace).await;
            drop(guard);
        });
    }
}
