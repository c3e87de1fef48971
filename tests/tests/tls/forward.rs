//! `piko forward` to a server by TLS.

use crate::{NONE_SHOWN, SOON, STRANGE, Setup};
use piko_tests::certs::Authority;
use piko_tests::flags::Way;
use piko_tests::process::{Agent, Forward, Server};
use piko_tests::service::Service;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

#[test]
fn a_forwarder_trusts_whom_it_is_told_to_and_half_closes_over_tls() {
    let setup = Setup::new();
    let client_pair = setup.authority.issue(&["client"]);
    let [cert, key] = client_pair.write(&setup.folder, "client");
    let server = setup.server(Way::Flag, &["proxy"], &[("proxy.tls.client-cas", &setup.ca)]);
    let service = Service::scripted(|mut stream| {
        let mut all = Vec::new();
        if stream.read_to_end(&mut all).is_ok() {
            let _ = stream.write_all(&all);
        }
    });
    let _agent = Agent::tcp(&server.connect_url(), "db", &service.addr().to_string(), &[]);
    let url = format!("https://{}", server.proxy);
    let flags = ["--connect.url", url.as_str()];
    let pair = ["--connect.tls.cert", cert.as_str(), "--connect.tls.key", key.as_str()];

    for trust in [&["--connect.tls.root-cas", setup.ca.as_str()][..], &["--connect.tls.insecure-skip-verify"]]
    {
        let args = [&flags[..], &pair, trust].concat();
        let forward = Forward::tcp(server.proxy, "db", &args);
        let mut client = TcpStream::connect(forward.addr).expect("the port");
        let sent = vec![7; 1 << 20];
        client.write_all(&sent).expect("sent");
        client.shutdown(Shutdown::Write).expect("half closed");
        let mut back = Vec::new();
        client.read_to_end(&mut back).expect("the answer, and a clean end");
        assert!(back == sent, "{} bytes came back", back.len());
    }

    // Without the authority it believes nobody, and without a certificate of it nobody believes it: the first attempt
    // tells, long before the last one does, and the others repeat nothing.
    let strangers = Authority::new("strangers").issue(&["client"]);
    let [cert, key] = strangers.write(&setup.folder, "stranger");
    let strange = ["--connect.tls.cert", cert.as_str(), "--connect.tls.key", key.as_str()];
    let trust = ["--connect.tls.root-cas", &setup.ca];
    let flags = [&flags[..], &["--connect.timeout", "5s"]].concat();
    for (args, why) in [
        ([&flags[..], &pair].concat(), "UnknownIssuer"),
        ([&flags[..], &trust].concat(), NONE_SHOWN),
        ([&flags[..], &trust, &strange].concat(), STRANGE),
    ] {
        let forward = Forward::tcp(server.proxy, "db", &args);
        let read = TcpStream::connect(forward.addr).expect("the port").read(&mut [0; 1]);
        assert!(read.is_err(), "{read:?}");
        for message in ["dial failed; retrying", "failed to dial endpoint"] {
            let (_, record) = forward.process.wait_record(0, SOON, message).expect("is told");
            assert!(record["error"].as_str().expect("a reason").contains(why), "{record}");
        }
        let retries =
            forward.process.lines(0).iter().filter(|line| line.is_record("dial failed; retrying")).count();
        assert_eq!(retries, 1);
    }
}

/// Of several servers one that cannot be believed is told of, though another one serves.
#[test]
fn a_forwarder_tells_of_the_server_that_it_passes_over() {
    let setup = Setup::new();
    let (good, other) = (Server::start(&[]), setup.server(Way::Flag, &["proxy"], &[]));
    let service = Service::scripted(|mut stream| {
        let _ = stream.write_all(b"hello");
    });
    let _agent = Agent::tcp(&good.connect_url(), "db", &service.addr().to_string(), &[]);
    let urls = format!("https://{},http://{}", other.proxy, good.proxy);
    let forward = Forward::tcp(good.proxy, "db", &["--connect.url", &urls]);
    for _ in 0..2 {
        let mut client = TcpStream::connect(forward.addr).expect("the port");
        client.read_exact(&mut [0; 5]).expect("what the service says");
    }
    let (_, record) = forward.process.wait_record(0, SOON, "dial failed; retrying").expect("is told");
    assert_eq!(record["url"], format!("https://{}", other.proxy));
    assert!(record["error"].as_str().expect("a reason").contains("UnknownIssuer"), "{record}");
}
