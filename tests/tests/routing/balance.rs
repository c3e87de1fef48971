//! Who gets how much.

use crate::cluster::{Agent, Cluster, Node, get, is_hello, wait_until};
use piko_config::{Command, ServerOptions, Values};
use piko_tests::service::Service;
use std::thread;

/// Requests of `clients` at once, all at one node.
fn load(node: &Node, target: &str, clients: usize, requests: usize) {
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = node.client();
                for _ in 0..requests / clients {
                    let response = get(&mut client, target);
                    assert!(is_hello(&response) || response.status() == 200, "{response:?}");
                }
            });
        }
    });
}

/// One agent on the first node, two on the second, three on the third, each with a service of its own.
fn uneven(prefer_local: &'static str) -> (Cluster, Vec<Service>, Vec<Agent>) {
    let cluster = Cluster::with(3, move |options| {
        let given = [("proxy.routing.prefer-local", prefer_local.to_owned())];
        let values = Values::resolve(Command::Server, &given, &|_| None).unwrap();
        options.proxy.routing = ServerOptions::from_values(&values).unwrap().proxy.routing;
    });
    let services: Vec<_> = (0..6).map(|_| Service::start()).collect();
    let agents: Vec<_> = services
        .iter()
        .zip([0, 1, 1, 2, 2, 2])
        .map(|(service, node)| Agent::start(&cluster.nodes[node], service.addr()))
        .collect();
    cluster.wait_routable();
    (cluster, services, agents)
}

fn requests(services: &[Service]) -> Vec<u64> {
    services.iter().map(|service| service.counts().requests).collect()
}

#[test]
fn without_preference_the_busiest_upstream_gets_at_most_half_as_much_again_as_the_idlest() {
    let (cluster, services, _agents) = uneven("false");
    for (clients, total) in [(1, 1_500), (12, 3_000), (64, 6_400)] {
        let before = requests(&services);
        load(&cluster.nodes[0], "/hello", clients, total);
        let shares: Vec<_> =
            requests(&services).iter().zip(before).map(|(now, before)| now - before).collect();
        println!("{clients} clients: {shares:?}");
        let (most, least) = (shares.iter().max().unwrap(), shares.iter().min().unwrap());
        assert!(2 * most <= 3 * least, "{shares:?} with {clients} clients");
    }
}

#[test]
fn with_preference_a_few_clients_stay_with_the_local_upstream() {
    let (cluster, services, _agents) = uneven("true");
    let before = requests(&services);
    load(&cluster.nodes[0], "/hello", 4, 1_000);
    let shares: Vec<_> = requests(&services).iter().zip(before).map(|(now, before)| now - before).collect();
    assert_eq!(shares, [1_000, 0, 0, 0, 0, 0]);
}

#[test]
fn with_preference_a_local_upstream_that_is_overrun_gets_help() {
    let (cluster, services, _agents) = uneven("true");
    let before = requests(&services);
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let mut client = cluster.nodes[0].client();
            client.send_head("GET", "/slow?head_ms=300", &[("x-piko-endpoint", "ep")]).unwrap();
            client
        })
        .collect();
    for mut client in waiting {
        assert_eq!(client.read_response("GET").status(), 200);
    }
    let shares: Vec<_> = requests(&services).iter().zip(before).map(|(now, before)| now - before).collect();
    assert!((9..=20).contains(&shares[0]), "{shares:?}");
    assert!(shares[1..].iter().all(|share| *share >= 1), "{shares:?}");
}

#[test]
fn a_draining_node_gets_nothing_while_another_serves() {
    let cluster = Cluster::start(3);
    let services = [Service::start(), Service::start()];
    let _agents = [
        Agent::start(&cluster.nodes[1], services[0].addr()),
        Agent::start(&cluster.nodes[2], services[1].addr()),
    ];
    cluster.wait_routable();
    let [front, first, _] = &cluster.nodes[..] else { panic!("three nodes") };
    load(front, "/hello", 1, 200);
    assert!(services.iter().all(|service| service.counts().requests >= 50));
    front.peers.node_draining(&first.id, true);
    let before = services[0].counts().requests;
    load(front, "/hello", 4, 400);
    assert_eq!(services[0].counts().requests, before);
    front.peers.node_draining(&first.id, false);
    load(front, "/hello", 1, 50);
    wait_until("it is chosen again", || services[0].counts().requests > before);
}
