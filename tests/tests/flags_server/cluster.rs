//! Flags of a node among others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::cluster::unused_addr;
use piko_tests::flags::{Settings, WAYS, Way, server};
use piko_tests::http::Client;
use piko_tests::process::{Agent, Process, Server, Signal};
use piko_tests::rig::agent_of;
use piko_tests::service::Service;

use crate::{SOON, TO_E};

fn text(addr: SocketAddr, target: &str) -> String {
    let answer = Client::connect(addr).expect("the admin port").get(target, &[]).expect("an answer");
    assert_eq!(answer.status(), 200, "{target}: {answer:?}");
    answer.body.text()
}

#[track_caller]
fn until(mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !so() {
        assert!(Instant::now() < deadline, "it does not come to that");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Two nodes with these settings that know each other.
fn pair(way: Way, settings: Settings<'_>) -> [Server; 2] {
    let first = server(way, settings);
    let seed = first.gossip().to_string();
    let second = server(way, &[settings, &[("cluster.join", seed.as_str())]].concat());
    for node in [&first, &second] {
        until(|| text(node.admin, "/status/cluster/nodes").matches("\"active\"").count() == 2);
    }
    [first, second]
}

/// A port that nobody listens on.
fn closed() -> String {
    unused_addr().to_string()
}

fn logged(process: &Process, msg: &str) {
    process.wait_record(0, SOON, msg).unwrap_or_else(|e| panic!("{msg}: {e}"));
}

#[test]
fn addresses_are_advertised_as_asked() {
    for way in WAYS {
        let node = server(
            way,
            &[
                ("admin.advertise-addr", "10.1.2.3:4"),
                ("proxy.advertise-addr", "proxy.example:80"),
                ("cluster.gossip.advertise-addr", "127.0.0.9:0"),
            ],
        );
        let own = text(node.admin, "/status/cluster/nodes/local");
        assert!(own.contains("\"proxy_addr\":\"proxy.example:80\",\"admin_addr\":\"10.1.2.3:4\""), "{own}");
        let gossip = text(node.admin, "/status/gossip/nodes");
        // Port 0 is the one really bound.
        assert!(gossip.contains(&format!("\"addr\":\"127.0.0.9:{}\"", node.gossip().port())), "{gossip}");
    }
}

#[test]
fn the_gossip_port_is_bound_where_it_was_asked_for() {
    for way in WAYS {
        let first = server(way, &[("cluster.gossip.bind-addr", "127.0.0.5:0")]);
        let addr = first.gossip();
        assert_eq!(addr.ip(), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5)));
        let second = server(way, &[("cluster.join", &addr.to_string())]);
        until(|| text(second.admin, "/status/gossip/nodes").contains(&format!("\"addr\":\"{addr}\"")));
        // A seed without a port has that of the node itself.
        let taken = format!("127.0.0.6:{}", addr.port());
        let third =
            server(way, &[("cluster.gossip.bind-addr", taken.as_str()), ("cluster.join", "127.0.0.5")]);
        until(|| text(third.admin, "/status/cluster/nodes").matches("\"active\"").count() == 3);
    }
}

#[test]
fn a_join_that_fails_ends_the_node_in_time_or_does_not() {
    for way in WAYS {
        let seed = closed();
        let join = [("cluster.join", seed.as_str()), ("cluster.join-timeout", "1200ms")];
        let begun = Instant::now();
        let mut node = server(way, &join);
        let status = node.process.wait_exit(SOON).expect("the end");
        assert_eq!(status.code(), Some(1), "{}", node.process.tail());
        assert!(begun.elapsed() >= Duration::from_millis(1200), "{:?}", begun.elapsed());
        logged(&node.process, "failed to run server");
        assert!(node.process.tail().contains("cluster join: "), "{}", node.process.tail());

        let stays = [&join[..], &[("cluster.abort-if-join-fails", "false")]].concat();
        let mut node = server(way, &stays);
        logged(&node.process, "failed to join cluster; trying on");
        assert_eq!(text(node.admin, "/ready"), "");
        assert!(node.terminate(SOON).expect("the end").success());
    }
}

#[test]
fn rounds_come_in_the_interval() {
    let digests = |node: &Server| -> f64 {
        let metrics = text(node.admin, "/metrics");
        let name = "piko_gossip_digest_entries_outbound_total ";
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)).expect("the counter");
        value.parse().expect("a number")
    };
    for way in WAYS {
        let fast = pair(way, &[("cluster.gossip.interval", "10ms")]);
        let slow = pair(way, &[("cluster.gossip.interval", "1h")]);
        until(|| digests(&fast[0]) > 200.0);
        let seen = digests(&slow[0]);
        assert!(seen < 50.0, "{seen}");
    }
}

#[test]
fn what_does_not_fit_into_a_packet_is_not_published() {
    let service = Service::start();
    let long = "e".repeat(700);
    for way in WAYS {
        for (size, published) in [("512", false), ("1400", true)] {
            let [first, second] = pair(way, &[("cluster.gossip.max-packet-size", size)]);
            let addr = service.addr().to_string();
            let _agents = [&long, "short"].map(|id| Agent::http(&first.connect_url(), id, &addr, &[]));
            let of_first = format!("\"proxy_addr\":\"{}\"", first.proxy);
            let listed = || text(second.admin, "/status/cluster/nodes");
            let (few, all) =
                (format!("{of_first},\"admin_addr\":\"{}\",\"endpoints\":1", first.admin), of_first);
            if published {
                let both = all + &format!(",\"admin_addr\":\"{}\",\"endpoints\":2", first.admin);
                until(|| listed().contains(&both));
            } else {
                logged(&first.process, "endpoint not published");
                until(|| listed().contains(&few));
            }
        }
    }
}

#[test]
fn a_node_that_drains_goes_on_serving_for_the_delay() {
    for way in WAYS {
        let service = Service::start();
        // Long enough for a request on a busy machine.
        let delay = Duration::from_secs(4);
        let mut node = server(way, &[("drain-delay", "4s")]);
        let _agent = Agent::http(&node.connect_url(), "e", &service.addr().to_string(), &[]);
        let begun = Instant::now();
        node.process.signal(Signal::Term).expect("sent");
        logged(&node.process, "starting shutdown");
        let mut client = Client::connect(node.proxy).expect("the port is open");
        let answer = client.get("/hello", &[TO_E]).expect("an answer");
        assert_eq!(
            (answer.status(), answer.value("connection").as_deref()),
            (200, Some("close")),
            "{answer:?}"
        );
        assert!(node.process.wait_exit(SOON).expect("the end").success());
        assert!(begun.elapsed() >= delay, "{:?}", begun.elapsed());

        let mut node = server(way, &[("drain-delay", "0s")]);
        let begun = Instant::now();
        assert!(node.terminate(SOON).expect("the end").success());
        // Less than the default.
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
}

#[test]
fn requests_stay_on_their_node_or_spread() {
    for way in WAYS {
        for (prefer, spread) in [("true", false), ("false", true)] {
            let nodes = pair(way, &[("proxy.routing.prefer-local", prefer)]);
            let services = [Service::start(), Service::start()];
            let agent =
                |n: usize| Agent::http(&nodes[n].connect_url(), "e", &services[n].addr().to_string(), &[]);
            let _agents = [agent(0), agent(1)];
            until(|| text(nodes[0].admin, "/status/cluster/nodes").matches("\"upstreams\":1").count() == 2);
            let mut client = Client::connect(nodes[0].proxy).expect("the proxy port");
            for _ in 0..100 {
                assert_eq!(client.get("/hello", &[TO_E]).expect("an answer").status(), 200);
            }
            let away = services[1].counts().requests;
            assert_eq!(away > 20, spread, "{prefer}: {away} of 100");
            assert!(spread || away == 0, "{prefer}: {away} of 100");
        }
    }
}

/// 12 agents on one of two nodes: the average is 6.
#[test]
fn agents_are_shed_by_threshold_rate_and_number() {
    let service = Service::start();
    let endpoints: Vec<String> = (0..12).map(|n| format!("e{n}/{}", service.addr())).collect();
    let shed = "rebalance; shedding connections";
    for way in WAYS {
        let run = |settings: Settings<'_>, expected: &str| {
            let settings =
                [settings, &[("log.level", "debug"), ("proxy.access-log.disable", "true")]].concat();
            let [first, _second] = pair(way, &settings);
            let _agent = agent_of(&first.connect_url(), &endpoints);
            // From here on every look sees all of them.
            let from = first.process.mark();
            let line = first.process.wait_line(from, SOON, |line| line.text.contains("rebalance; "));
            let line = line.unwrap_or_else(|e| panic!("{settings:?}: {e}"));
            assert!(line.is_record(expected), "{settings:?}: {}", line.text);
            line.json().expect("a record")
        };
        let on = ("upstream.rebalance.threshold", "0.5");
        let all =
            run(&[on, ("upstream.rebalance.min-conns", "12"), ("upstream.rebalance.shed-rate", "1")], shed);
        assert_eq!((&all["shedding"], &all["local_conns"]), (&6.into(), &12.into()), "{all}");
        let some =
            run(&[on, ("upstream.rebalance.min-conns", "0"), ("upstream.rebalance.shed-rate", "0.4")], shed);
        assert_eq!(some["shedding"], 3, "0.4 of 6, rounded up: {some}");
        run(&[on, ("upstream.rebalance.min-conns", "13")], "rebalance; skip; too few conns");
        let high = [("upstream.rebalance.threshold", "1.1"), ("upstream.rebalance.min-conns", "1")];
        run(&high, "rebalance; skip; below threshold");
    }
}
