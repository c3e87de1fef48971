//! What only this runtime's reactor promises; the rest is in the suite that all runtimes share.

use futures::channel::{mpsc, oneshot};
use futures::{AsyncReadExt, StreamExt};
use piko_driver::{Runtime, Timer, sleep_until};
use piko_runtime_smol::Smol;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc as threads;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

/// Runs `main` on a thread of its own: a lost wake-up fails instead of hanging.
fn block_on<F: Future<Output: Send + 'static>>(main: impl FnOnce(Smol) -> F + Send + 'static) -> F::Output {
    let (done, finished) = threads::channel();
    let thread = thread::spawn(move || {
        let _ = done.send(piko_runtime_smol::block_on(main));
    });
    match finished.recv_timeout(Duration::from_secs(60)) {
        Ok(value) => value,
        Err(threads::RecvTimeoutError::Timeout) => panic!("hangs"),
        Err(threads::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it panicked"))
        }
    }
}

/// How often this thread has gone to sleep so far.
#[cfg(target_os = "linux")]
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("a count").trim().parse().expect("a number")
}

#[test]
#[cfg(target_os = "linux")]
fn an_idle_thread_sleeps_once() {
    let slept = block_on(|rt: Smol| async move {
        // A socket that nothing happens on.
        let (_ours, theirs) = UnixStream::pair().expect("a pair");
        let mut theirs = rt.adopt_unix(theirs).expect("adopted");
        rt.spawn(async move {
            let _ = theirs.read(&mut [0]).await;
        });
        let before = sleeps();
        sleep_until(&rt, rt.now() + Duration::from_millis(300)).await;
        sleeps() - before
    });
    assert!(slept <= 3, "{slept} sleeps");
}

/// How many writes this thread has asked the kernel for so far. Sending on a socket is none.
#[cfg(target_os = "linux")]
fn writes() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/io").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("syscw:"));
    line.expect("a count").trim().parse().expect("a number")
}

#[test]
#[cfg(target_os = "linux")]
fn a_wake_on_the_reactors_own_thread_costs_no_system_call() {
    let written = block_on(|rt: Smol| async move {
        let (done, finished) = oneshot::channel();
        let before = writes();
        rt.spawn(async move {
            for _ in 0..30 {
                sleep_until(&rt, rt.now() + Duration::from_millis(1)).await;
            }
            let _ = done.send(());
        });
        finished.await.expect("ends well");
        writes() - before
    });
    assert_eq!(written, 0);
}

#[test]
fn an_end_behind_a_short_read_is_seen() {
    block_on(|rt: Smol| async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listens");
        for _ in 0..200 {
            let mut peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
            let mut io = rt.adopt(listener.accept().expect("accepts").0).expect("adopted");
            let (started, starts) = oneshot::channel();
            let (done, finished) = oneshot::channel();
            rt.spawn(async move {
                let mut started = Some(started);
                let mut buf = [0; 100];
                let first = poll_fn(|cx| {
                    let read = futures::AsyncRead::poll_read(std::pin::Pin::new(&mut io), cx, &mut buf);
                    if let (Poll::Pending, Some(started)) = (&read, started.take()) {
                        let _ = started.send(());
                    }
                    read
                });
                let first = first.await.expect("reads");
                let second = io.read(&mut [0; 100]).await.expect("reads");
                let _ = done.send((first, second));
            });
            starts.await.expect("the reader waits");
            // Both are there before the reactor looks, so one event tells both.
            peer.write_all(b"hello").expect("writes");
            peer.shutdown(Shutdown::Write).expect("ends");
            assert_eq!(finished.await, Ok((5, 0)));
        }
    });
}

#[test]
fn wakes_from_another_thread_are_never_lost() {
    block_on(|_: Smol| async move {
        let (ask, asked) = threads::channel();
        let (answer, mut answers) = mpsc::unbounded();
        let echo = thread::spawn(move || {
            for n in asked {
                answer.unbounded_send(n).expect("somebody listens");
            }
        });
        for n in 0..5000 {
            ask.send(n).expect("the thread runs");
            assert_eq!(answers.next().await, Some(n));
        }
        drop(ask);
        echo.join().expect("ends well");
    });
}

#[test]
fn an_alarm_set_by_another_thread_interrupts_the_sleep() {
    block_on(|rt: Smol| async move {
        let (give_back, timers) = threads::channel();
        let mut start = Some(give_back);
        poll_fn(|cx| {
            let Some(give_back) = start.take() else { return Poll::Ready(()) };
            let waker = cx.waker().clone();
            thread::spawn(move || {
                let mut timer = rt.timer();
                let at = rt.now() + Duration::from_millis(30);
                let _ = timer.poll_until(&mut Context::from_waker(&waker), Some(at));
                // Dropped, it would not fire.
                let _ = give_back.send(timer);
            });
            Poll::Pending
        })
        .await;
        timers.recv().expect("the thread was there");
    });
}

#[test]
fn tasks_that_are_always_ready_do_not_starve_sockets_and_timers() {
    block_on(|rt: Smol| async move {
        for _ in 0..4 {
            rt.spawn(poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Pending
            }));
        }
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let mut theirs = rt.adopt_unix(theirs).expect("adopted");
        let late = thread::spawn(move || {
            // Long enough for the other tasks to have had their many turns.
            thread::sleep(Duration::from_millis(20));
            ours.write_all(b"x").expect("writes");
        });
        theirs.read_exact(&mut [0]).await.expect("reads");
        sleep_until(&rt, rt.now() + Duration::from_millis(20)).await;
        late.join().expect("ends well");
    });
}

#[test]
#[cfg(target_os = "linux")]
fn the_end_gives_descriptors_back() {
    let open = || std::fs::read_dir("/proc/self/fd").expect("Linux tells").count();
    let before = open();
    for _ in 0..300 {
        block_on(|_: Smol| async {});
    }
    // The other tests' sockets come and go in the same process.
    assert!(open() < before + 100, "{} after {before}", open());
}

#[test]
fn a_socket_outlives_its_reactor_without_harm() {
    let (rt, io) = block_on(|rt: Smol| async move {
        let (_ours, theirs) = UnixStream::pair().expect("a pair");
        (rt, rt.adopt_unix(theirs).expect("adopted"))
    });
    drop(io);
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    assert!(rt.adopt_unix(ours).is_err(), "nobody would ever wake it");
}
