//! Tasks, turns and wake-ups.

use futures::channel::oneshot;
use piko_driver::{Runtime, Turn};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) async fn the_end_of_a_turn_comes_after_ready_tasks<R: Runtime>(rt: R) {
    const OTHERS: usize = 300;
    let ran = Arc::new(AtomicUsize::new(0));
    let (tell, told) = oneshot::channel();
    let collector = {
        let (rt, ran) = (rt.clone(), ran.clone());
        async move {
            let mut turn = Turn::default();
            let before = ran.load(Ordering::SeqCst);
            poll_fn(|cx| rt.poll_end_of_turn(cx, &mut turn)).await;
            let after = ran.load(Ordering::SeqCst);
            // The same memory serves the next turn, where only one more task is ready.
            let again = ran.clone();
            rt.spawn(async move {
                again.fetch_add(1, Ordering::SeqCst);
            });
            poll_fn(|cx| rt.poll_end_of_turn(cx, &mut turn)).await;
            tell.send((before, after, ran.load(Ordering::SeqCst))).expect("somebody listens");
        }
    };
    rt.spawn(collector);
    for _ in 0..OTHERS {
        let ran = ran.clone();
        rt.spawn(async move {
            ran.fetch_add(1, Ordering::SeqCst);
        });
    }
    assert_eq!(told.await.expect("an answer"), (0, OTHERS, OTHERS + 1));
}

pub(crate) async fn the_end_of_a_turn_in_the_main_future<R: Runtime>(rt: R) {
    // Fewer than the tasks that a runtime runs before it looks at its main future again.
    const OTHERS: usize = 30;
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..OTHERS {
        let order = order.clone();
        rt.spawn(async move { order.lock().expect("no panic").push(number) });
    }
    let mut turn = Turn::default();
    poll_fn(|cx| rt.poll_end_of_turn(cx, &mut turn)).await;
    assert_eq!(*order.lock().expect("no panic"), (0..OTHERS).collect::<Vec<_>>(), "first in, first out");
}

pub(crate) async fn a_wake_from_another_thread<R: Runtime>(_: R) {
    // Each round lets the runtime fall asleep first.
    for round in 0..20 {
        let (tell, told) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(round % 5));
            tell.send(round).expect("somebody listens");
        });
        assert_eq!(told.await.expect("an answer"), round);
        thread.join().expect("no panic");
    }
}

pub(crate) async fn a_spawn_from_another_thread<R: Runtime>(rt: R) {
    let home = std::thread::current().id();
    let ran_here = Arc::new(AtomicBool::new(false));
    let (tell, told) = oneshot::channel();
    let thread = {
        let ran_here = ran_here.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            rt.spawn(async move {
                ran_here.store(std::thread::current().id() == home, Ordering::SeqCst);
                tell.send(()).expect("somebody listens");
            });
        })
    };
    told.await.expect("an answer");
    thread.join().expect("no panic");
    assert!(ran_here.load(Ordering::SeqCst), "a task ran on another thread than the runtime's");
}
