//! A link that is long or narrow, in user space: it ends TCP on both sides, so that only what is sent through it is
//! late, and TCP's own acknowledgements are not.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What a link is like, in each direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// One way.
    pub(crate) delay: Duration,
    /// Bytes per second; `None` for as fast as this machine.
    pub(crate) rate: Option<u64>,
    /// Bytes that wait in it at most, those on the way included. Behind them the sender waits, as behind a full queue
    /// of a router that drops nothing.
    pub(crate) queue: usize,
}

/// Starts a link to `target` on a port of the kernel's choice. It lasts as long as this process.
pub(crate) fn start(target: SocketAddr, link: Link) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    if link.rate.is_some() {
        // Inherited by what is accepted: what lies in the kernel's buffer is on the link, too.
        rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 16 << 10)?;
    }
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A target that is down ends the connection, which is all that a link can say.
            let _ = join(client, target, link);
        }
    });
    Ok(addr)
}

fn join(client: TcpStream, target: SocketAddr, link: Link) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server.try_clone()?, client.try_clone()?)]
    {
        let queue = Arc::new(Queue::default());
        let under_way = queue.clone();
        thread::spawn(move || take_in(from, &queue, link));
        thread::spawn(move || give_out(to, &under_way));
    }
    Ok(())
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    over: bool,
}

fn take_in(mut from: TcpStream, queue: &Queue, link: Link) {
    let mut buf = vec![0; if link.rate.is_some() { 4 << 10 } else { 256 << 10 }];
    let mut free_at = Instant::now();
    loop {
        let n = from.read(&mut buf).unwrap_or(0);
        let state = queue.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |state: &mut State| state.bytes > 0 && state.bytes + n > link.queue && !state.over;
        let mut state = queue.changed.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        if n == 0 || state.over {
            state.over = true;
            queue.changed.notify_all();
            return;
        }
        if let Some(rate) = link.rate {
            free_at = free_at.max(Instant::now()) + Duration::from_secs_f64(n as f64 / rate as f64);
        } else {
            free_at = Instant::now();
        }
        state.pieces.push_back((free_at + link.delay, buf[..n].to_vec()));
        state.bytes += n;
        queue.changed.notify_all();
    }
}

fn give_out(mut to: TcpStream, queue: &Queue) {
    loop {
        let state = queue.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut State| state.pieces.is_empty() && !state.over;
        let mut state = queue.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        let Some((due, piece)) = state.pieces.pop_front() else {
            let _ = to.shutdown(Shutdown::Write);
            return;
        };
        drop(state);
        // Time is the subject: this is the delay of the link.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent = to.write_all(&piece);
        let mut state = queue.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes -= piece.len();
        state.over |= sent.is_err();
        queue.changed.notify_all();
    }
}
