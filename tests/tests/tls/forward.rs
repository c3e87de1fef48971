//! `piko forward` to a server by TLS.

use crate::{SOON, Setup};
use piko_tests::flags::Way;
use piko_tests::process::{Agent, Forward};
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

    // Without the authority it believes nobody, and without a certificate nobody believes it.
    for args in [&pair[..], &["--connect.tls.root-cas", &setup.ca]] {
        let args = [&flags[..], args, &["--connect.timeout", "2s"]].concat();
        let forward = Forward::tcp(server.proxy, "db", &args);
        let read = TcpStream::connect(forward.addr).expect("the port").read(&mut [0; 1]);
        assert!(read.is_err(), "{read:?}");
        forward.process.wait_record(0, SOON, "failed to dial endpoint").expect("is told");
    }
}
