//! What the driver may expect of a runtime: one suite, run on each.

#[path = "runtime_suite/helpers.rs"]
mod helpers;
#[path = "runtime_suite/sockets.rs"]
mod sockets;
#[path = "runtime_suite/streams.rs"]
mod streams;
#[path = "runtime_suite/tasks.rs"]
mod tasks;
#[path = "runtime_suite/time.rs"]
mod time;

macro_rules! suite {
    ($name:ident, $krate:ident, $runtime:ident, { $($module:ident: [$($test:ident),* $(,)?],)* }) => {
        mod $name {
            $($(
                #[test]
                fn $test() {
                    let test = || $krate::block_on(crate::$module::$test::<$krate::$runtime>);
                    crate::helpers::within_patience(test);
                }
            )*)*
        }
    };
}

macro_rules! on_every_runtime {
    ($tests:tt) => {
        suite!(tokio, piko_runtime_tokio, Tokio, $tests);
        suite!(smol, piko_runtime_smol, Smol, $tests);
    };
}

on_every_runtime!({
    streams: [
        an_echo_of_ten_mebibytes,
        a_vectored_write_is_one_write,
        short_reads_lose_no_wake_up,
        a_read_moves_to_another_task,
        a_stuck_writer_wakes_when_the_peer_reads,
        half_close,
        closing_after_a_reset_is_no_error,
        an_abort_is_a_reset,
        a_drop_is_a_clean_end,
        a_probe_sees_bytes_and_ends,
        addresses_are_known,
        a_tunnel_is_tuned,
        a_refused_connection_is_an_error,
        a_socket_never_meets_itself,
        detached_and_adopted,
    ],
    time: [
        a_timer_fires_in_time,
        a_timer_moves_earlier,
        a_timer_that_moves_away_is_not_armed_again,
        a_timer_without_a_deadline_waits_forever,
        a_timer_serves_many_deadlines,
    ],
    sockets: [
        names_resolve,
        an_unknown_name_is_an_error,
        unix_sockets,
        a_stale_unix_socket_is_replaced,
        datagrams,
        datagrams_on_both_families,
        a_port_in_use_is_named,
        a_restart_does_not_wait,
        what_waits_in_a_listener_is_found,
        a_listener_hears_no_new_handshake_when_asked,
        a_port_is_shared_when_asked,
        one_listener_for_both_families,
        two_thousand_connections,
    ],
    tasks: [
        the_end_of_a_turn_comes_after_ready_tasks,
        the_end_of_a_turn_in_the_main_future,
        a_wake_from_another_thread,
        a_spawn_from_another_thread,
    ],
});

#[test]
fn main_gives_back_its_value() {
    assert_eq!(piko_runtime_tokio::block_on(|_| async { 7 }), 7);
    assert_eq!(piko_runtime_smol::block_on(|_| async { 7 }), 7);
}

/// The agent is small because tokio is not in it.
#[test]
fn no_tokio_below_smol() {
    let tree = |package| {
        let output = std::process::Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--package", package])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let names = |tree: &str, krate: &str| tree.lines().any(|line| line.split(' ').next() == Some(krate));
    assert!(names(&tree("piko-runtime-tokio"), "tokio"), "the question is asked wrongly");
    // async-io announces every wait to the kernel, and keeps a thread of its own.
    for tree in ["piko-runtime-smol", "piko-agent"].map(tree) {
        for krate in ["tokio", "smol", "async-io"] {
            assert!(!names(&tree, krate), "{krate} in {tree}");
        }
    }
}
