//! Files of agents, on both of the agent's programs.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use piko_tests::http::Client;
use piko_tests::process::{Forward, Process, Server};
use piko_tests::service::Service;

use crate::{SOON, launch};

/// The two programs and the words in front of `start`.
pub(crate) const AGENTS: [(&str, &[&str]); 2] = [("piko-agent", &["start"]), ("piko", &["agent", "start"])];

pub(crate) fn wait_connected(agent: &Process, times: usize) {
    let mut from = 0;
    for _ in 0..times {
        let (at, _) = agent.wait_record(from, SOON, "tunnel connected").expect("the tunnel");
        from = at + 1;
    }
}

#[test]
fn two_services_of_one_machine() {
    let services = [Service::start(), Service::start()];
    let [one, two] = services.each_ref().map(|service| service.addr().to_string());
    for (program, words) in AGENTS {
        let server = Server::start(&[]);
        let env = [("ONE", one.as_str()), ("TWO", &two), ("SERVER_URL", &server.connect_url())];
        let agent = launch(program, words, "agent-two.yaml", &env);
        wait_connected(&agent, 2);
        let get = |target: &str, endpoint: &str| {
            let mut client = Client::connect(server.proxy).expect("the proxy port");
            client.get(target, &[("x-piko-endpoint", endpoint)]).expect("an answer").status()
        };
        let before = services.each_ref().map(|service| service.counts().requests);
        assert_eq!((get("/hello", "one"), get("/hello", "two")), (200, 200), "{program}");
        let after = services.each_ref().map(|service| service.counts().requests);
        assert_eq!(after, before.map(|count| count + 1), "{program}");
        // Each has its own limit.
        assert_eq!(
            (get("/slow?head_ms=1000", "one"), get("/slow?head_ms=3000", "two")),
            (200, 504),
            "{program}"
        );
    }
}

#[test]
fn all_settings_of_a_listener() {
    let service = Service::start();
    let addr = service.addr().to_string();
    for (program, words) in AGENTS {
        let server = Server::start(&[]);
        let env = [("ONE", addr.as_str()), ("SERVER_URL", &server.connect_url())];
        let agent = launch(program, words, "agent-full.yaml", &env);
        wait_connected(&agent, 2);
        let (_, record) = agent.wait_record(0, SOON, "starting metrics server").expect("the metrics");
        let metrics = record["addr"].as_str().expect("an address").parse().expect("an address");
        for endpoint in ["again", "full"] {
            let mut client = Client::connect(server.proxy).expect("the proxy port");
            let fields = [("x-piko-endpoint", endpoint), ("x-one", "1"), ("x-two", "2")];
            assert_eq!(client.get("/hello", &fields).expect("an answer").status(), 200, "{program}");
        }
        // The log of the one that was asked first is off.
        let (_, record) = agent.wait_record(0, SOON, "request").expect("a record");
        assert_eq!((&record["endpoint-id"], &record["level"]), (&"full".into(), &"warn".into()), "{program}");
        let headers = record["request"]["request_headers"].as_object().expect("an object");
        assert_eq!(headers.len(), 1, "{program}: {record}");
        let text =
            Client::connect(metrics).expect("the metrics port").get("/metrics", &[]).expect("an answer");
        assert!(text.body.text().contains("endpoint=\"again\""), "{program}");
    }
}

/// The head of the first request that comes in.
pub(crate) fn head_of(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().expect("the agent connects");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole head");
        head.extend_from_slice(&byte);
    }
    let refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(refusal).expect("the agent reads");
    String::from_utf8(head).expect("is text")
}

#[test]
fn what_the_server_is_told() {
    for (program, words) in AGENTS {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let agent = launch(program, words, "agent-token.yaml", &[("SERVER_URL", &url)]);
        let head = head_of(&listener).to_ascii_lowercase();
        assert!(head.contains("authorization: bearer pa$word\r\n"), "{program}: {head}");
        assert!(head.contains("x-piko-tenant-id: my-tenant\r\n"), "{program}: {head}");
        assert!(!agent.tail().contains("pa$word"), "{program}");
    }
}

#[test]
fn a_token_from_a_file_of_its_own() {
    let folder = crate::Folder::new();
    let token = folder.write("token", "t0ken-of-a-file\n");
    for (program, words) in AGENTS {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mut command = std::process::Command::new(piko_tests::process::binary(program));
        command.args(&words[..words.len() - 1]).args(["http", "e", "1", "--connect.url", &url]);
        command.args(["--connect.token-file", &token]);
        let agent = Process::spawn(program, &mut command).expect("starts");
        let head = head_of(&listener).to_ascii_lowercase();
        assert!(head.contains("authorization: bearer t0ken-of-a-file\r\n"), "{program}: {head}");
        assert!(!agent.tail().contains("t0ken-of-a-file"), "{program}");
    }
}

#[test]
fn a_tcp_listener_carries_bytes() {
    let service = Service::scripted(|mut stream| {
        let mut all = Vec::new();
        if stream.read_to_end(&mut all).is_ok() {
            let _ = stream.write_all(&all);
        }
    });
    let addr = service.addr().to_string();
    for (program, words) in AGENTS {
        let server = Server::start(&[]);
        let env = [("REDIS", addr.as_str()), ("SERVER_URL", &server.connect_url())];
        let agent = launch(program, words, "agent-tcp.yaml", &env);
        wait_connected(&agent, 1);
        let forward = Forward::tcp(server.proxy, "redis", &[]);
        let mut client = TcpStream::connect(forward.addr).expect("the port");
        client.write_all(b"PING").expect("sent");
        client.shutdown(Shutdown::Write).expect("half closed");
        let mut back = String::new();
        client.read_to_string(&mut back).expect("an answer");
        assert_eq!(back, "PING", "{program}");
    }
}

/// Stands before a server's upstream port: refuses the endpoint `bad` for good, passes the others on, and tells the heads.
pub(crate) fn gate(server: SocketAddr) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (tell, told) = channel();
    // Ends with the process: nothing waits for it.
    thread::spawn(move || {
        for near in listener.incoming() {
            let (mut near, tell) = (near.expect("a connection"), tell.clone());
            thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    near.read_exact(&mut byte).expect("a head");
                    head.push(byte[0]);
                }
                let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
                let is_bad = text.contains("upstream/bad ");
                tell.send(text).expect("the test listens");
                if is_bad {
                    let refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}";
                    return near.write_all(refusal).expect("the agent reads");
                }
                let mut far = TcpStream::connect(server).expect("the server");
                far.write_all(&head).expect("the server reads");
                let (mut from, mut to) =
                    (near.try_clone().expect("a copy"), far.try_clone().expect("a copy"));
                thread::spawn(move || std::io::copy(&mut from, &mut to));
                let _ = std::io::copy(&mut far, &mut near);
            });
        }
    });
    (url, told)
}

/// Three listeners, http and tcp, each with a token and a tenant of its own, and one that the server does not want.
#[test]
fn listeners_are_on_their_own() {
    let (web, echo) = (
        Service::start(),
        Service::scripted(|mut stream| {
            let mut buf = [0; 4];
            let _ = stream.read_exact(&mut buf).and_then(|()| stream.write_all(&buf));
        }),
    );
    let folder = crate::Folder::new();
    let token = folder.write("token", "of-a-file\n");
    for (program, words) in AGENTS {
        let server = Server::start(&[]);
        let (url, told) = gate(server.upstream);
        let path = folder.write(
            "agent.yaml",
            &format!(
                "connect: {{url: \"{url}\", token: shared, tenant_id: all}}\n\
             listeners:\n\
             - {{endpoint_id: bad, addr: \"1\", token: one}}\n\
             - {{endpoint_id: web, addr: \"{}\", token_file: \"{token}\", tenant_id: mine}}\n\
             - {{endpoint_id: db, addr: \"{}\", protocol: tcp}}\n",
                web.addr(),
                echo.addr()
            ),
        );
        let mut command = std::process::Command::new(piko_tests::process::binary(program));
        command.args(words).args(["--config.path", &path]);
        let mut agent = Process::spawn(program, &mut command).expect("starts");
        wait_connected(&agent, 2);
        agent.wait_record(0, SOON, "connect failed; non-retryable").expect("is told");
        let heads: Vec<String> = (0..3).map(|_| told.recv_timeout(SOON).expect("a head")).collect();
        for (endpoint, token, tenant) in
            [("bad", "one", "all"), ("web", "of-a-file", "mine"), ("db", "shared", "all")]
        {
            let head =
                heads.iter().find(|head| head.contains(&format!("upstream/{endpoint} "))).expect("asked for");
            assert!(head.contains(&format!("authorization: bearer {token}\r\n")), "{program}: {head}");
            assert!(head.contains(&format!("x-piko-tenant-id: {tenant}\r\n")), "{program}: {head}");
        }
        let mut client = Client::connect(server.proxy).expect("the proxy port");
        assert_eq!(client.get("/hello", &[("x-piko-endpoint", "web")]).expect("an answer").status(), 200);
        let forward = Forward::tcp(server.proxy, "db", &[]);
        let mut client = TcpStream::connect(forward.addr).expect("the port");
        client.write_all(b"ping").expect("sent");
        client.read_exact(&mut [0; 4]).expect("an echo");
        // The agent's end waits for what is open.
        drop(client);
        assert!(!agent.tail().contains("of-a-file"), "{program}");
        agent.signal(piko_tests::process::Signal::Term).expect("it runs");
        assert!(agent.wait_exit(SOON).expect("the end").success(), "{program}");
    }
}
