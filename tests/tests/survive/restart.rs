//! Servers that come late, die, or restart: the agent is there again within a second.

use std::thread;
use std::time::Duration;

use piko_tests::process::{Agent, Server, Signal};
use piko_tests::service::Service;

use super::common::{
    BACK_WITHIN, PATIENCE, count_records, exit_code, free_addr, get, is_hello, launch_agent, own_ip, quiet,
    server, server_like, terminate, time_to_answer,
};

#[test]
fn an_agent_that_started_first_is_there_when_its_server_comes() {
    let service = Service::start();
    let upstream = free_addr().to_string();
    let agent = launch_agent(&format!("http://{upstream}"), "first", service.addr(), &[]);
    // Twice, so that it is seen to go on.
    for failures in 1..=2 {
        let (_, record) = agent
            .process
            .wait_record(0, PATIENCE, "connect failed; retrying")
            .unwrap_or_else(|e| panic!("failure {failures}: {e}"));
        assert!(record["error"].as_str().is_some_and(|e| e.contains("connect")), "{record}");
    }
    let any = format!("{}:0", own_ip());
    let _quiet = quiet();
    let server = Server::start(&["--proxy.bind-addr", &any, "--upstream.bind-addr", &upstream]);
    let took = time_to_answer(&server, "first", PATIENCE);
    assert!(took <= BACK_WITHIN, "{took:?} after the server came\n{}", agent.process.tail());
    agent.wait_connected(0, PATIENCE).expect("the agent says that its tunnel is up");
    assert_eq!(count_records(&agent.process, "tunnel connected"), 1);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Stopped,
}

/// The server ends, stays away for `down`, and comes back on its ports.
fn comes_back(end: End, down: Duration) {
    let service = Service::start();
    let mut old = server(&["--grace-period", "5s"]);
    let agent = Agent::http(&old.connect_url(), "back", &service.addr().to_string(), &[]);
    assert!(is_hello(&get(&old, "back", "/hello")));
    match end {
        End::Killed => {
            old.process.signal(Signal::Kill).expect("the server runs");
            old.process.wait_exit(PATIENCE).expect("the server is dead");
        }
        End::Stopped => {
            terminate(&mut old.process);
            assert_eq!(exit_code(&mut old.process, PATIENCE), Some(0), "{}", old.process.tail());
        }
    }
    let lost = agent.wait_lost(0, PATIENCE).expect("the agent says that its tunnel is lost");
    thread::sleep(down);
    let _quiet = quiet();
    let new = server_like(&old);
    let took = time_to_answer(&new, "back", PATIENCE);
    assert!(took <= BACK_WITHIN, "{took:?} after the server's return\n{}", agent.process.tail());
    // The line may come a moment after the first answer.
    agent.wait_connected(lost, PATIENCE).expect("the agent says that its tunnel is up");
    assert_eq!(count_records(&agent.process, "tunnel connected"), 2, "{}", agent.process.tail());
    assert_eq!(count_records(&agent.process, "tunnel lost; reconnecting"), 1, "{}", agent.process.tail());
}

/// All at once, as each of them waits most of the time.
#[test]
fn an_agent_is_back_within_a_second_after_every_end() {
    let ends = [
        (End::Killed, Duration::from_millis(200)),
        (End::Killed, Duration::from_secs(3)),
        (End::Killed, Duration::from_secs(20)),
        (End::Stopped, Duration::from_millis(200)),
        (End::Stopped, Duration::from_secs(3)),
    ];
    thread::scope(|scope| {
        for (end, down) in ends {
            let case = thread::Builder::new().name(format!("{end:?} for {down:?}"));
            case.spawn_scoped(scope, move || comes_back(end, down)).expect("a thread");
        }
    });
}
