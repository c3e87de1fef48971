use super::*;
use std::io;
use std::sync::mpsc;

/// A writer that does what the test says: each write waits for an order.
struct Gate {
    orders: mpsc::Receiver<io::Result<usize>>,
    seen: mpsc::Sender<Vec<u8>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.seen.send(bytes.to_vec());
        self.orders.recv().unwrap_or(Ok(bytes.len())).map(|most| most.min(bytes.len()))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Bench {
    sink: Arc<Sink>,
    orders: mpsc::Sender<io::Result<usize>>,
    seen: mpsc::Receiver<Vec<u8>>,
}

fn bench() -> Bench {
    let (orders, taken) = mpsc::channel();
    let (told, seen) = mpsc::channel();
    let sink = Sink::new(Box::new(Gate { orders: taken, seen: told }), "a");
    Bench { sink, orders, seen }
}

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Patience = Patience { quiet: PATIENCE, total: PATIENCE };
const ALL: usize = usize::MAX;

impl Bench {
    fn push(&self, bytes: &[u8]) {
        self.sink.push(|out| out.extend_from_slice(bytes));
    }
    fn next(&self) -> Vec<u8> {
        self.seen.recv_timeout(PATIENCE).expect("the thread writes")
    }
    fn order(&self, order: io::Result<usize>) {
        self.orders.send(order).expect("the thread lives");
    }
}

fn short(millis: u64) -> Patience {
    Patience { quiet: Duration::from_millis(millis), total: PATIENCE }
}

fn line_of(len: usize) -> Vec<u8> {
    let mut line = vec![b'x'; len - 1];
    line.push(b'\n');
    line
}

#[test]
fn lines_that_wait_together_are_one_write() {
    let bench = bench();
    bench.push(b"first\n");
    assert_eq!(bench.next(), b"first\n");
    for n in 0..10 {
        bench.push(format!("{n}\n").as_bytes());
    }
    bench.order(Ok(ALL));
    assert_eq!(bench.next(), b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    bench.order(Ok(ALL));
    assert!(bench.sink.flush(LONG));
    // The thread sleeps and must be woken again.
    bench.push(b"later\n");
    assert_eq!(bench.next(), b"later\n");
    bench.order(Ok(ALL));
}

#[test]
fn a_line_alone_is_written_without_being_asked_for() {
    let bench = bench();
    for n in 0..5 {
        let start = Instant::now();
        bench.push(b"alone\n");
        assert_eq!(bench.next(), b"alone\n");
        // Later than half the latency: it was gathered for. The other bound is the patience of `next`.
        assert!(start.elapsed() > LATENCY / 2, "{n}");
        bench.order(Ok(ALL));
        while bench.sink.lock().thread != Thread::Idle {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_full_batch_does_not_wait() {
    const ROUNDS: u32 = 100;
    let bench = bench();
    let start = Instant::now();
    for _ in 0..ROUNDS {
        bench.push(&line_of(BATCH_BYTES));
        bench.order(Ok(ALL));
        bench.next();
        assert!(bench.sink.flush(LONG));
    }
    assert!(start.elapsed() < LATENCY * ROUNDS, "{:?}", start.elapsed());
}

#[test]
fn a_stuck_writer_holds_up_nobody_and_the_bound_is_kept() {
    let bench = bench();
    bench.push(b"first\n");
    assert_eq!(bench.next(), b"first\n");
    // The thread is inside `write` and stays there.
    let line = line_of(1024);
    for _ in 0..2000 {
        bench.push(&line);
    }
    assert_eq!(bench.sink.dropped(), 2000 - 1024);
    assert!(bench.sink.lock().pending.len() <= PENDING_BYTES_MAX);
    assert!(!bench.sink.flush(short(20)), "nothing was written");
    bench.order(Ok(ALL));
    let mut text = String::new();
    while !text.ends_with("}\n") {
        let piece = String::from_utf8(bench.next()).expect("UTF-8");
        assert!(piece.len() <= PIECE_BYTES_MAX && piece.ends_with('\n'), "{}", piece.len());
        text.push_str(&piece);
        bench.order(Ok(ALL));
    }
    assert_eq!(text.lines().count(), 1025);
    let last = text.lines().last().expect("the loss is told");
    assert!(last.starts_with("{\"level\":\"warn\",") && last.ends_with("\"dropped\":976}"), "{last}");
    assert!(bench.sink.flush(LONG));
    // A burst does not keep its memory, neither the batch's nor the buffer's that takes its place.
    bench.push(b"x\n");
    bench.order(Ok(ALL));
    bench.next();
    assert!(bench.sink.flush(LONG));
    assert!(bench.sink.lock().pending.capacity() <= KEPT_BYTES);
}

#[test]
fn one_line_beyond_the_bound_is_dropped_whole() {
    let bench = bench();
    bench.push(&line_of(PENDING_BYTES_MAX + 1));
    assert_eq!(bench.sink.dropped(), 1);
    bench.push(b"small\n");
    bench.order(Ok(ALL));
    let text = String::from_utf8(bench.next()).expect("UTF-8");
    assert!(text.starts_with("small\n{") && text.ends_with("\"dropped\":1}\n"), "{text}");
}

#[test]
fn a_closed_writer_loses_lines_and_counts_them() {
    let bench = bench();
    for n in 1..=3_u64 {
        bench.push(b"lost\n");
        bench.order(Err(ErrorKind::BrokenPipe.into()));
        bench.next();
        assert!(bench.sink.flush(LONG));
        assert_eq!(bench.sink.dropped(), n);
    }
    bench.push(b"kept\n");
    bench.order(Ok(ALL));
    let text = String::from_utf8(bench.next()).expect("UTF-8");
    assert!(text.starts_with("kept\n") && text.ends_with("\"dropped\":3}\n"), "{text}");
}

#[test]
fn a_torn_line_is_ended_before_the_next() {
    let bench = bench();
    bench.push(b"abcdef\n");
    for order in [Ok(3), Err(ErrorKind::Interrupted.into()), Err(ErrorKind::BrokenPipe.into())] {
        bench.order(order);
    }
    assert_eq!(bench.next(), b"abcdef\n");
    assert_eq!(bench.next(), b"def\n");
    assert_eq!(bench.next(), b"def\n");
    assert!(bench.sink.flush(LONG));
    bench.push(b"next\n");
    bench.order(Ok(ALL));
    bench.order(Ok(ALL));
    assert_eq!(bench.next(), b"\n");
    assert!(bench.next().starts_with(b"next\n"));
}

#[test]
fn a_writer_that_is_full_for_a_moment_loses_nothing() {
    let bench = bench();
    bench.push(b"whole\n");
    for order in [Err(ErrorKind::WouldBlock.into()), Ok(2), Err(ErrorKind::WouldBlock.into()), Ok(ALL)] {
        bench.order(order);
    }
    assert!(bench.sink.flush(LONG));
    let writes: Vec<_> = bench.seen.try_iter().collect();
    assert_eq!(writes, [&b"whole\n"[..], b"whole\n", b"ole\n", b"ole\n"]);
    assert_eq!(bench.sink.dropped(), 0);
}

#[test]
fn many_threads_lose_nothing_and_mix_nothing() {
    struct Count(Arc<AtomicUsize>);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            for line in bytes.split_inclusive(|&b| b == b'\n') {
                assert!(line.len() == 100 && line.ends_with(b"\n"), "a line is whole");
            }
            self.0.fetch_add(bytes.len(), Ordering::Relaxed);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let count = Arc::new(AtomicUsize::new(0));
    let sink = Sink::new(Box::new(Count(Arc::clone(&count))), "a");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    sink.push(|out| out.extend_from_slice(&line_of(100)));
                }
            });
        }
    });
    assert!(sink.flush(LONG));
    assert_eq!(count.load(Ordering::Relaxed) + 100 * sink.dropped() as usize, 4 * 2000 * 100);
    assert_eq!(sink.dropped(), 0);
}

#[test]
fn log_lines_go_behind_a_batch_that_is_being_written_and_nowhere_else() {
    let bench = bench();
    assert!(!bench.sink.push_behind(b"log\n"), "there is no thread");
    bench.push(b"first\n");
    assert_eq!(bench.next(), b"first\n");
    bench.push(b"second\n");
    assert!(bench.sink.push_behind(b"log\n"));
    assert!(
        bench.sink.push_behind(&line_of(PENDING_BYTES_MAX)),
        "a line too many is dropped, not waited for"
    );
    assert_eq!(bench.sink.dropped(), 1);
    bench.order(Ok(ALL));
    let text = String::from_utf8(bench.next()).expect("UTF-8");
    assert!(text.starts_with("second\nlog\n{"), "{text}");
    bench.order(Ok(ALL));
    assert!(bench.sink.flush(LONG));
    assert!(!bench.sink.push_behind(b"log\n"), "the thread sleeps");
}

#[test]
fn many_logs_that_close_wait_for_a_stuck_writer_once() {
    let bench = bench();
    bench.push(b"first\n");
    bench.next();
    let start = Instant::now();
    for _ in 0..50 {
        bench.sink.flush_unless_stuck(short(100));
    }
    let took = start.elapsed();
    assert!((Duration::from_millis(100)..Duration::from_secs(4)).contains(&took), "{took:?}");
    bench.order(Ok(ALL));
    assert!(bench.sink.flush(LONG));
    assert!(!bench.sink.lock().stuck);
}

#[test]
fn pieces_end_with_a_line_where_one_ends() {
    for (lines, want) in [
        (vec![10], 10),
        (vec![PIECE_BYTES_MAX - 1], PIECE_BYTES_MAX - 1),
        (vec![PIECE_BYTES_MAX], PIECE_BYTES_MAX),
        (vec![PIECE_BYTES_MAX + 1], PIECE_BYTES_MAX),
        (vec![100, PIECE_BYTES_MAX], 100),
        (vec![100, PIECE_BYTES_MAX - 100, 7], PIECE_BYTES_MAX),
        (vec![100, 200, PIECE_BYTES_MAX], 300),
    ] {
        let batch: Vec<u8> = lines.iter().flat_map(|&len| line_of(len)).collect();
        assert_eq!(piece(&batch).len(), want, "{lines:?}");
    }
}

#[test]
fn a_flush_is_patient_while_bytes_move() {
    let bench = bench();
    let line = line_of(PIECE_BYTES_MAX);
    bench.push(b"first\n");
    bench.next();
    for _ in 0..10 {
        bench.push(&line);
    }
    thread::scope(|scope| {
        // No piece makes the flush wait for as long as it would, all of them together do.
        let orders = bench.orders.clone();
        scope.spawn(move || {
            for _ in 0..11 {
                thread::sleep(Duration::from_millis(200));
                orders.send(Ok(ALL)).expect("the thread lives");
            }
        });
        let start = Instant::now();
        assert!(bench.sink.flush(short(1500)), "bytes moved all the time");
        assert!(start.elapsed() > Duration::from_millis(1800), "{:?}", start.elapsed());
    });
    // The same reader is too slow for a flush with a limit.
    bench.push(b"x\n");
    let limit = Patience { quiet: PATIENCE, total: Duration::from_millis(50) };
    assert!(!bench.sink.flush(limit));
}

#[test]
fn a_batch_that_fills_while_it_is_gathered_does_not_wait() {
    const ROUNDS: u32 = 40;
    let bench = bench();
    let start = Instant::now();
    for _ in 0..ROUNDS {
        bench.push(b"small\n");
        // From here on it gathers, except on a machine that stood still meanwhile, which may have written.
        while bench.sink.lock().thread == Thread::Running {
            thread::yield_now();
        }
        bench.push(&line_of(BATCH_BYTES));
        bench.order(Ok(ALL));
        bench.order(Ok(ALL));
        bench.order(Ok(ALL));
        bench.next();
        // No flush here: it would wake the thread itself.
        while bench.sink.lock().thread != Thread::Idle {
            assert!(start.elapsed() < PATIENCE, "the thread comes to rest");
            thread::yield_now();
        }
        while bench.seen.try_recv().is_ok() {}
    }
    assert!(start.elapsed() < LATENCY * ROUNDS, "{:?}", start.elapsed());
}
