//! What a load balancer knows of its nodes: whether `/ready` said 200 at the last look.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::is_ready;

/// Looks at the nodes until it is dropped.
#[derive(Debug)]
pub struct Ready {
    up: Arc<Vec<AtomicBool>>,
    stop: Arc<AtomicBool>,
    watchers: Vec<JoinHandle<()>>,
}

impl Ready {
    /// Looks at each admin port, again and again after `every`. All nodes count as ready before the first look.
    pub fn watch(admins: Vec<SocketAddr>, every: Duration) -> Self {
        let up: Arc<Vec<AtomicBool>> = Arc::new(admins.iter().map(|_| AtomicBool::new(true)).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let watchers = admins.into_iter().enumerate().map(|(i, admin)| {
            let (up, stop) = (Arc::clone(&up), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    up[i].store(is_ready(admin), Ordering::SeqCst);
                    thread::sleep(every);
                }
            })
        });
        let watchers = watchers.collect();
        Self { up, stop, watchers }
    }

    /// What the looks find, shared with whoever chooses a node.
    pub fn flags(&self) -> Arc<Vec<AtomicBool>> {
        Arc::clone(&self.up)
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for watcher in self.watchers.drain(..) {
            let _ = watcher.join();
        }
    }
}
