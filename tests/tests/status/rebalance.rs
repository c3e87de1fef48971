//! Agents move from a node that has them all to one that has none, and no request is lost.

use crate::nodes::{cluster, get, text, until};
use piko_tests::http::Client;
use piko_tests::process::Server;
use piko_tests::rig::agent_of;
use piko_tests::service::Service;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

const AGENTS: usize = 60;

/// A load balancer in front of the upstream ports: connections take turns among `nodes`.
fn balancer(nodes: &Arc<Mutex<Vec<SocketAddr>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("its address");
    let (nodes, turn) = (Arc::clone(nodes), AtomicUsize::new(0));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let nodes = nodes.lock().expect("nobody panics").clone();
            let to = nodes[turn.fetch_add(1, Ordering::Relaxed) % nodes.len()];
            let Ok(node) = TcpStream::connect(to) else { continue };
            let pairs = [(client.try_clone(), node.try_clone()), (Ok(node), Ok(client))];
            for (from, to) in pairs {
                let (Ok(mut from), Ok(mut to)) = (from, to) else { break };
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    addr
}

fn tunnels(server: &Server) -> usize {
    text(server.admin, "/status/upstreams").matches("\"endpoint\":").count()
}

#[test]
fn sixty_agents_find_their_balance_without_a_failed_request() {
    let service = Service::start();
    let args = [
        "--upstream.rebalance.threshold=0.2",
        "--upstream.rebalance.shed-rate=0.5",
        "--upstream.rebalance.min-conns=10",
        "--proxy.access-log.disable",
    ];
    let mut servers = cluster(1, &args);
    let nodes = Arc::new(Mutex::new(vec![servers[0].upstream]));
    let url = format!("http://{}", balancer(&nodes));
    let endpoints: Vec<String> = (0..AGENTS).map(|n| format!("e{n}/{}", service.addr())).collect();
    let _agent = agent_of(&url, &endpoints);
    assert_eq!(tunnels(&servers[0]), AGENTS);
    // The second node comes when all agents are there, or the first look would see some of them, and behind the balancer
    // once there is load.
    let join = servers[0].gossip().to_string();
    servers.push(Server::start(&[&args[..], &["--cluster.node-id=n2", "--cluster.join", &join]].concat()));
    let known = || get(servers[1].admin, "/status/cluster/nodes/n1").body.text().matches("\":1").count();
    until(|| known() >= AGENTS);
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = servers
        .iter()
        .map(|server| {
            let (proxy, stop) = (server.proxy, Arc::clone(&stop));
            thread::spawn(move || {
                let mut client = Client::connect(proxy).expect("the proxy port");
                let mut done = 0;
                while !stop.load(Ordering::Relaxed) {
                    let endpoint = format!("e{}", done * 7 % AGENTS);
                    let answer = client.get("/hello", &[("x-piko-endpoint", &endpoint)]).expect("an answer");
                    assert_eq!(answer.status(), 200, "request {done} to {endpoint}: {answer:?}");
                    done += 1;
                }
                done
            })
        })
        .collect();
    nodes.lock().expect("nobody panics").push(servers[1].upstream);

    // A fifth above the average of 30 is left alone.
    until(|| tunnels(&servers[0]) <= 36 && tunnels(&servers[0]) + tunnels(&servers[1]) == AGENTS);
    stop.store(true, Ordering::Relaxed);
    let done: Vec<usize> = load.into_iter().map(|load| load.join().expect("no failed request")).collect();
    println!("requests meanwhile: {done:?}");
    assert!(done.iter().all(|done| *done > 100), "{done:?}");
    assert!(tunnels(&servers[1]) >= 24, "{}", tunnels(&servers[1]));
    let metrics = text(servers[0].admin, "/metrics");
    let shed = metrics.lines().find_map(|line| line.strip_prefix("piko_upstreams_shed_total "));
    assert!(shed.and_then(|shed| shed.parse::<usize>().ok()).is_some_and(|shed| shed >= 24), "{metrics}");
    let records = servers[0].process.lines(0);
    let record = records.iter().find(|line| line.is_record("rebalance; shedding connections"));
    let record = record.and_then(piko_tests::process::Line::json).expect("a record");
    // Half the average of 30, and not more: the first look.
    assert_eq!((&record["shedding"], &record["local_conns"]), (&15.into(), &60.into()), "{record}");
    assert!(text(servers[1].admin, "/metrics").contains("piko_upstreams_shed_total 0\n"));
}
