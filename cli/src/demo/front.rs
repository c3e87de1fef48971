//! One port in front of several nodes: connections take turns, byte by byte.
//!
//! Bytes pass as they come, so that nothing here can spoil a request; what people put here in earnest is a
//! load balancer of their own.

use piko_driver::{Shutdown, TaskGuard, Tasks};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// After a failed accept (out of descriptors) the port rests, so that it does not spin.
const REST: Duration = Duration::from_millis(50);

/// A port whose connections go to nodes in turn.
#[derive(Debug)]
pub(super) struct Front {
    listener: TcpListener,
    addr: SocketAddr,
    nodes: Arc<Nodes>,
}

#[derive(Debug)]
struct Nodes {
    addrs: Vec<SocketAddr>,
    turn: AtomicUsize,
}

impl Nodes {
    /// The node whose turn it is, or the next one that takes connections.
    async fn connect(&self) -> io::Result<TcpStream> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for n in 0..self.addrs.len() {
            match TcpStream::connect(self.addrs[first.wrapping_add(n) % self.addrs.len()]).await {
                Ok(node) => return Ok(node),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Front {
    /// Sends what comes in at `listener` to `nodes`.
    pub(super) fn new(listener: TcpListener, nodes: Vec<SocketAddr>) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr, nodes: Arc::new(Nodes { addrs: nodes, turn: AtomicUsize::new(0) }) })
    }

    /// Where it listens.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts until `stop`, then waits for the last connection to end.
    pub(super) async fn run(self, stop: Shutdown) {
        let Self { listener, nodes, .. } = self;
        let tasks = Tasks::new();
        loop {
            let accepted = tokio::select! {
                () = stop.wait() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((client, _)) => {
                    drop(tokio::spawn(carry(client, nodes.clone(), stop.clone(), tasks.enter())));
                }
                Err(error) => {
                    tracing::warn!(target: "front", %error, "accept failed");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        drop(listener);
        tasks.idle().await;
    }
}

/// One connection, from its first byte to its last.
async fn carry(mut client: TcpStream, nodes: Arc<Nodes>, stop: Shutdown, guard: TaskGuard) {
    match nodes.connect().await {
        Ok(mut node) => {
            if relay(&mut client, &mut node, &stop).await.is_err() {
                // A clean end here would make a cut answer look like a whole one.
                let _ = (client.set_zero_linger(), node.set_zero_linger());
            }
        }
        Err(error) => {
            tracing::warn!(target: "front", %error, "no node takes connections");
            let _ = client.set_zero_linger();
        }
    }
    drop(guard);
}

/// Copies both ways; the end of one direction is passed on, and the other one goes on. Once the demo stops,
/// the node's last byte is the end of both.
async fn relay(client: &mut TcpStream, node: &mut TcpStream, stop: &Shutdown) -> io::Result<()> {
    client.set_nodelay(true)?;
    node.set_nodelay(true)?;
    let ((mut from_client, mut to_client), (mut from_node, mut to_node)) = (client.split(), node.split());
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_node).await?;
        to_node.shutdown().await
    };
    let down = async {
        tokio::io::copy(&mut from_node, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut up => {
            ended?;
            down.await
        }
        ended = &mut down => {
            ended?;
            tokio::select! {
                ended = &mut up => ended,
                () = stop.wait() => Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// A front, with nodes that say their number and end.
    async fn front(count: u8) -> (SocketAddr, Shutdown) {
        let mut nodes = Vec::new();
        for n in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            nodes.push(listener.local_addr().expect("its address"));
            tokio::spawn(async move {
                while let Ok((mut tcp, _)) = listener.accept().await {
                    let _ = tcp.write_all(&[b'0' + n]).await;
                }
            });
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let front = Front::new(listener, nodes).expect("a front");
        let (addr, stop) = (front.addr(), Shutdown::new());
        tokio::spawn(front.run(stop.clone()));
        (addr, stop)
    }

    #[test]
    fn connections_take_turns() {
        piko_runtime_tokio::block_on(|_| async {
            let (addr, _stop) = front(3).await;
            let mut said = String::new();
            for _ in 0..6 {
                let mut tcp = TcpStream::connect(addr).await.expect("the front");
                tcp.read_to_string(&mut said).await.expect("a node's number");
            }
            assert_eq!(said, "012012");
        });
    }

    #[test]
    fn a_reset_stays_a_reset() {
        piko_runtime_tokio::block_on(|_| async {
            let node = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let nodes = vec![node.local_addr().expect("its address")];
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let front = Front::new(listener, nodes).expect("a front");
            let addr = front.addr();
            tokio::spawn(front.run(Shutdown::new()));
            let mut client = TcpStream::connect(addr).await.expect("the front");
            let (mut tcp, _) = node.accept().await.expect("the front's connection");
            tcp.write_all(b"part").await.expect("a write");
            let mut part = [0; 4];
            client.read_exact(&mut part).await.expect("the part");
            tcp.set_zero_linger().expect("linger");
            drop(tcp);
            let error = client.read(&mut part).await.expect_err("no clean end");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        });
    }

    #[test]
    fn a_node_that_is_down_loses_its_turn() {
        piko_runtime_tokio::block_on(|_| async {
            let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let gone_addr = gone.local_addr().expect("its address");
            drop(gone);
            let (addr, _stop) = front(1).await;
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let both = Front::new(listener, vec![gone_addr, addr]).expect("a front");
            let both_addr = both.addr();
            tokio::spawn(both.run(Shutdown::new()));
            for _ in 0..2 {
                let mut said = String::new();
                let mut tcp = TcpStream::connect(both_addr).await.expect("the front");
                tcp.read_to_string(&mut said).await.expect("a node's number");
                assert_eq!(said, "0");
            }
        });
    }

    #[test]
    fn a_stop_ends_connections_whose_node_is_done() {
        piko_runtime_tokio::block_on(|_| async {
            let node = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let nodes = vec![node.local_addr().expect("its address")];
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let front = Front::new(listener, nodes).expect("a front");
            let (addr, stop) = (front.addr(), Shutdown::new());
            let running = tokio::spawn(front.run(stop.clone()));
            // Stays open on the client's side, as kept connections do.
            let mut client = TcpStream::connect(addr).await.expect("the front");
            let (mut tcp, _) = node.accept().await.expect("the front's connection");
            stop.trigger();
            tcp.write_all(b"last words").await.expect("a write");
            drop(tcp);
            running.await.expect("the front ends");
            let mut said = String::new();
            client.read_to_string(&mut said).await.expect("all of it");
            assert_eq!(said, "last words");
        });
    }
}
