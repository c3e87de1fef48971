//! A TCP relay in front of a node's proxy port, which can be cut like a machine that dies.

use piko_tests::http::abort;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Copies bytes both ways until it is cut.
pub(crate) struct Relay {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    cut: AtomicBool,
    frozen: AtomicBool,
    ended: AtomicUsize,
    open: AtomicUsize,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Relay {
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if own.cut.load(Ordering::SeqCst) {
                    // The listener goes with this thread: from here on connections are refused.
                    return;
                }
                own.open.fetch_add(1, Ordering::SeqCst);
                let (client, server) = (client.unwrap(), TcpStream::connect(target).unwrap());
                for socket in [&client, &server] {
                    socket.set_nodelay(true).unwrap();
                    own.sockets.lock().unwrap().push(socket.try_clone().unwrap());
                }
                let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let own = own.clone();
                thread::spawn(move || {
                    let ended = own.clone();
                    let back = thread::spawn(move || {
                        copy(server2, client2, &ended.frozen);
                        ended.ended.fetch_add(1, Ordering::SeqCst);
                    });
                    copy(client, server, &own.frozen);
                    back.join().unwrap();
                    own.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { addr, shared }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections that the node has ended, so far.
    pub(crate) fn ended(&self) -> usize {
        self.shared.ended.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Takes what comes, and hands nothing on: a machine that stands still, or is behind a partition.
    pub(crate) fn freeze(&self) {
        self.shared.frozen.store(true, Ordering::SeqCst);
    }

    /// Resets all connections and refuses new ones.
    pub(crate) fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.addr));
        for socket in self.shared.sockets.lock().unwrap().drain(..) {
            let other = socket.try_clone().unwrap();
            let _ = abort(socket);
            let _ = other.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, frozen: &AtomicBool) {
    let mut buf = [0; 16 * 1024];
    while let Ok(n) = from.read(&mut buf) {
        if frozen.load(Ordering::SeqCst) && n > 0 {
            continue;
        }
        if n == 0 || to.write_all(&buf[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
