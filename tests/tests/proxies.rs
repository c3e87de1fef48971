//! Programs that get out through a proxy only, and programs with several servers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use piko_tests::certs::{Authority, Folder};
use piko_tests::cluster::unused_addr;
use piko_tests::flags::{self, WAYS, Way, agent};
use piko_tests::http::Client;
use piko_tests::process::{Agent, Forward, Process, Server, Signal, binary};
use piko_tests::proxies::{Asked, KINDS, Kind, Manner, OutboundProxy};
use piko_tests::service::Service;

/// How long anything that happens at once may take on a busy machine, before it counts as what never comes.
const SOON: Duration = Duration::from_secs(60);
/// The field that names the endpoint of the agents here.
const TO_E: [(&str, &str); 1] = [("x-piko-endpoint", "e")];

/// A name that only the proxies of these tests know.
fn hidden(port: u16) -> String {
    format!("http://piko.invalid:{port}")
}

fn status(server: &Server) -> u16 {
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    client.get("/hello", &TO_E).expect("an answer").status()
}

/// The first reason that an agent gives for having no tunnel.
fn failure(agent: &Agent) -> String {
    let (_, record) =
        agent.process.wait_record(0, SOON, "connect failed; retrying").expect("a failed attempt");
    record["error"].as_str().expect("a reason").to_owned()
}

/// A port that was free a moment ago, and where nobody listens.
fn nobody() -> u16 {
    unused_addr().port()
}

#[test]
fn a_proxy_is_gone_through() {
    let (server, service) = (Server::start(&[]), Service::start());
    let port = server.upstream.port();
    for kind in KINDS {
        for (way, manner, login, said) in [
            (Way::Flag, Manner::Open, "", None),
            (Way::Env, Manner::Open, "", None),
            (Way::Flag, Manner::Login("me:hunter2 %@:"), "me:hunter2%20%25%40%3A@", Some("me:hunter2 %@:")),
        ] {
            let proxy = OutboundProxy::start(kind, manner);
            let url = proxy.url(login);
            let settings = [("connect.proxy-url", url.as_str())];
            let agent = agent(way, &hidden(port), "e", &service.addr().to_string(), &settings);
            agent.wait_connected(0, SOON).expect("the tunnel");
            // The name went to the proxy as it is: nobody else could have resolved it.
            let asked = Asked { to: format!("piko.invalid:{port}"), login: said.map(str::to_owned) };
            assert_eq!(proxy.asked(SOON), Some(asked));
            assert_eq!(status(&server), 200);
            let said = agent.process.lines(0).iter().any(|line| line.text.contains("hunter2"));
            assert!(!said, "{}", agent.process.tail());
        }
    }
}

/// A password that `ps` does not show; the agent takes over a new file while it runs, with a tunnel through the new proxy.
#[test]
fn the_url_of_a_proxy_comes_from_a_file() {
    let (server, service, folder) = (Server::start(&[]), Service::start(), Folder::new("proxy-url"));
    let port = server.upstream.port();
    let proxies = KINDS.map(|kind| OutboundProxy::start(kind, Manner::Login("me:hunter2")));
    let [first, second] = &proxies;
    let path = folder.put("url", &format!("{}\n", first.url("me:hunter2@")));
    let settings = [("connect.proxy-url-file", path.as_str())];
    let mut agent = agent(Way::Flag, &hidden(port), "e", &service.addr().to_string(), &settings);
    agent.wait_connected(0, SOON).expect("the tunnel");
    let asked = Asked { to: format!("piko.invalid:{port}"), login: Some("me:hunter2".to_owned()) };
    assert_eq!(first.asked(SOON).as_ref(), Some(&asked));
    let mark = agent.process.mark();
    folder.put("url", &second.url("me:hunter2@"));
    agent.process.signal(Signal::Hup).expect("the agent runs");
    agent.wait_connected(mark, SOON).expect("the next tunnel");
    assert_eq!(second.asked(SOON).as_ref(), Some(&asked));
    assert!(!agent.process.tail().contains("hunter2"), "{}", agent.process.tail());

    let to = hidden(server.proxy.port());
    let args = ["--connect.url", to.as_str(), "--connect.proxy-url-file", &path];
    let forward = Forward::tcp(server.proxy, "e", &args);
    // Whatever the endpoint says to it: the proxy was asked with the login.
    let _client = TcpStream::connect(forward.addr).expect("the port");
    let asked = second.asked(SOON).expect("the forwarder");
    assert_eq!(
        (asked.to, asked.login.as_deref()),
        (format!("piko.invalid:{}", server.proxy.port()), Some("me:hunter2"))
    );
}

#[test]
fn an_address_of_the_server_goes_through_a_proxy_too() {
    let server = Server::start(&[]);
    for kind in KINDS {
        let proxy = OutboundProxy::start(kind, Manner::Open);
        let settings = [("connect.proxy-url", &*proxy.url(""))];
        let agent = agent(Way::Flag, &server.connect_url(), "e", "127.0.0.1:9", &settings);
        agent.wait_connected(0, SOON).expect("the tunnel");
        assert_eq!(proxy.asked(SOON).expect("one who asks").to, server.upstream.to_string());
    }
}

#[test]
fn what_is_wrong_with_a_proxy_is_said_with_its_name_and_tried_again() {
    use Kind::{Connect, Socks5};
    const UNASKED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n";
    for (kind, manner, login, why) in [
        (Connect, Manner::Login("me:right"), "me:hunter2@", "proxy: 407: proxy authentication required"),
        (Connect, Manner::Login("me:right"), "", "proxy: 407: proxy authentication required"),
        (Connect, Manner::Refuses, "", "proxy: refused with status 403"),
        (Connect, Manner::Hangs, "", "proxy: timed out"),
        (Connect, Manner::Babbles(b"220 ready\r\n"), "", "proxy: answer is not HTTP"),
        (Connect, Manner::Babbles(UNASKED), "", "proxy: bytes behind its answer that nobody asked for"),
        (Socks5, Manner::Login("me:right"), "me:hunter2@", "proxy: user name or password refused"),
        (Socks5, Manner::Login("me:right"), "", "proxy: a user name and password are required"),
        (Socks5, Manner::Refuses, "", "proxy: refused: not allowed by ruleset (2)"),
        (Socks5, Manner::Hangs, "", "proxy: timed out"),
        (Socks5, Manner::Babbles(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "", "proxy: answer is not SOCKS5"),
    ] {
        let proxy = OutboundProxy::start(kind, manner);
        let url = proxy.url(login);
        // Only one that hangs needs a limit: another one that is slow on a busy machine would be told as if it hung.
        let timeout = if matches!(manner, Manner::Hangs) { "300ms" } else { "60s" };
        let settings = [("connect.proxy-url", url.as_str()), ("connect.timeout", timeout)];
        let agent = agent(Way::Flag, &hidden(1), "e", "127.0.0.1:9", &settings);
        assert_eq!(failure(&agent), why, "{manner:?}");
        let mark = agent.process.mark();
        agent.process.wait_record(mark, SOON, "connect failed; retrying").expect("another attempt");
        assert!(!agent.process.tail().contains("hunter2"), "{}", agent.process.tail());
    }
    // Nobody is there at all, or the name is none.
    let dead = format!("http://127.0.0.1:{}", nobody());
    for (url, why) in [(&*dead, "proxy: connect 127.0.0.1:"), ("socks5://no.invalid:1", "proxy: resolve: ")] {
        let agent = agent(Way::Flag, &hidden(1), "e", "127.0.0.1:9", &[("connect.proxy-url", url)]);
        let said = failure(&agent);
        assert!(said.starts_with(why), "{said}");
    }
}

#[test]
fn a_bad_url_of_a_proxy_ends_the_programs_without_being_shown() {
    for url in ["hunter2", "https://hunter2", "http://u:hunter2@h:x", "http://h/hunter2"] {
        for words in [&["piko-agent", "http", "e", "1"][..], &["piko", "forward", "tcp", "127.0.0.1:0", "e"]]
        {
            let flag = format!("--connect.proxy-url={url}");
            let output = flags::run(words[0], &[&words[1..], &[&flag]].concat(), &[]);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{text}");
            assert!(
                text.contains("connect: invalid proxy url: ") && text.contains("--connect.proxy-url"),
                "{text}"
            );
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
    // A login that this kind of proxy cannot be told is noticed by those who would have to tell it.
    let output =
        flags::run("piko-agent", &["http", "e", "1", "--connect.proxy-url=http://hunter2%3A@h"], &[]);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("connect: invalid proxy url: ") && !text.contains("hunter2"), "{text}");
}

/// As with Go's, whose tunnels ignore them too (behaviour reference, CLI 5).
#[test]
fn variables_for_other_programs_mean_nothing() {
    let server = Server::start(&[]);
    let dead = format!("http://127.0.0.1:{}", nobody());
    let env =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"].map(|name| (name, &*dead));
    let agent = Agent::launch_with(
        binary("piko-agent"),
        "http",
        &server.connect_url(),
        "e",
        "127.0.0.1:9",
        &[],
        &env,
    );
    agent.wait_connected(0, SOON).expect("the tunnel");
}

/// Sends and half closes; everything comes back.
fn echoes(forward: &Forward) {
    let mut client = TcpStream::connect(forward.addr).expect("the port");
    client.write_all(&[7; 100_000]).expect("sent");
    client.shutdown(Shutdown::Write).expect("half closed");
    let mut back = Vec::new();
    client.read_to_end(&mut back).expect("the answer, and a clean end");
    assert!(back == [7; 100_000], "{} bytes came back", back.len());
}

fn echo() -> Service {
    Service::scripted(|mut stream| {
        let mut all = Vec::new();
        if stream.read_to_end(&mut all).is_ok() {
            let _ = stream.write_all(&all);
        }
    })
}

/// TLS is spoken with the server, through a proxy that sees nothing of it.
#[test]
fn tls_goes_through_a_proxy() {
    let (folder, authority) = (Folder::new("proxies"), Authority::new("tests"));
    let [cert, key] = authority.issue(&["piko.invalid"]).write(&folder, "server");
    let ca = folder.put("ca.pem", &authority.pem());
    let ports = ["proxy", "upstream"];
    let settings: Vec<_> = ports
        .iter()
        .flat_map(|port| [(format!("{port}.tls.cert"), &*cert), (format!("{port}.tls.key"), &*key)])
        .collect();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (&**name, *value)).collect();
    let server = flags::server(Way::Flag, &settings);
    let service = echo();
    for kind in KINDS {
        let proxy = OutboundProxy::start(kind, Manner::Login("me:x"));
        let url = proxy.url("me:x@");
        let tls = ["--connect.tls.root-cas", &ca, "--connect.proxy-url", &url];
        let upstream = format!("wss://piko.invalid:{}", server.upstream.port());
        let _agent = Agent::tcp(&upstream, "e", &service.addr().to_string(), &tls);
        assert_eq!(
            proxy.asked(SOON).expect("the agent").to,
            format!("piko.invalid:{}", server.upstream.port())
        );
        let to = format!("https://piko.invalid:{}", server.proxy.port());
        let forward = Forward::tcp(server.proxy, "e", &[&["--connect.url", &to][..], &tls].concat());
        echoes(&forward);
        assert_eq!(
            proxy.asked(SOON).expect("the forwarder").to,
            format!("piko.invalid:{}", server.proxy.port())
        );
    }
}

#[test]
fn a_forwarder_says_what_is_wrong_with_its_proxy() {
    let proxy = OutboundProxy::start(Kind::Connect, Manner::Login("me:right"));
    let url = proxy.url("me:hunter2@");
    let args =
        ["--connect.url", "http://piko.invalid:1", "--connect.proxy-url", &url, "--connect.timeout", "5s"];
    let forward = Forward::tcp(proxy.addr, "e", &args);
    let read = TcpStream::connect(forward.addr).expect("the port").read(&mut [0; 1]);
    assert!(read.is_err(), "{read:?}");
    let (_, record) = forward.process.wait_record(0, SOON, "failed to dial endpoint").expect("is told");
    assert_eq!(record["error"], "proxy: 407: proxy authentication required");
    assert!(!forward.process.tail().contains("hunter2"));
}

/// Where an agent with a tunnel is connected to.
fn connected_to(process: &Process, from: usize) -> (usize, String) {
    let line = process.wait_line(from, SOON, |line| line.is_record("tunnel connected")).expect("the tunnel");
    (line.index + 1, line.json().expect("a record")["url"].as_str().expect("a URL").to_owned())
}

#[test]
fn servers_are_tried_in_the_order_in_which_they_were_given() {
    let service = Service::start();
    for way in WAYS {
        let first = unused_addr();
        let mut second = Server::start(&[]);
        let urls = format!("http://127.0.0.1:{}, http://{first},{}", nobody(), second.connect_url());
        let agent = agent(way, &urls, "e", &service.addr().to_string(), &[]);
        let (from, url) = connected_to(&agent.process, 0);
        assert_eq!(url, second.connect_url());
        assert_eq!(status(&second), 200);
        // The tunnel that is up stays where it is; the next one begins with the first again.
        let bind = format!("--upstream.bind-addr={first}");
        let primary = Server::start(&[&bind]);
        second.terminate(SOON).expect("the end");
        let (_, url) = connected_to(&agent.process, from);
        assert_eq!(url, format!("http://{first}"));
        assert_eq!(status(&primary), 200);
    }
}

#[test]
fn a_forwarder_finds_the_server_that_lives() {
    let (server, service) = (Server::start(&[]), echo());
    let _agent = Agent::tcp(&server.connect_url(), "e", &service.addr().to_string(), &[]);
    let urls = format!("http://127.0.0.1:{},http://{}", nobody(), server.proxy);
    echoes(&Forward::tcp(server.proxy, "e", &["--connect.url", &urls]));
}

#[test]
fn one_server_that_refuses_leaves_the_agent_the_other() {
    let refuses = Service::scripted(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let server = Server::start(&[]);
    let urls = format!("http://{},{}", refuses.addr(), server.connect_url());
    let good = Agent::http(&urls, "e", "127.0.0.1:9", &[]);
    drop(good);
    let urls = format!("http://{0},http://{0}/other", refuses.addr());
    let mut refused = Agent::launch(binary("piko-agent"), "http", &urls, "e", "127.0.0.1:9", &[]);
    assert_eq!(refused.process.wait_exit(SOON).expect("the end").code(), Some(1));
}
