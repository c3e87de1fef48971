//! What `openssl s_client` and curl have to say.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use piko_tests::certs::Authority;
use piko_tests::flags::Way;
use piko_tests::process::need;

use crate::{SOON, Setup};

/// Does a handshake and ends. Gives whether it came about and the certificate was believed, and all that was said.
pub(crate) fn handshake(openssl: &Path, addr: SocketAddr, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(openssl);
    command.args(["s_client", "-connect", &addr.to_string(), "-verify_return_error"]).args(args);
    let output = command.stdin(Stdio::null()).output().expect("openssl starts");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success() && text.contains("Verify return code: 0 (ok)"), text)
}

#[test]
fn clients_see_through_wrong_certificates() {
    let Some(openssl) = need("openssl") else { return };
    let setup = Setup::new();
    let believed = ["-CAfile", setup.ca.as_str()];
    let server = setup.server(Way::Flag, &["proxy"], &[]);
    let (good, text) =
        handshake(&openssl, server.proxy, &[&believed[..], &["-verify_hostname", "localhost"]].concat());
    assert!(good, "{text}");
    let (good, text) =
        handshake(&openssl, server.proxy, &[&believed[..], &["-verify_hostname", "else.example"]].concat());
    assert!(!good && text.contains("ostname mismatch"), "{text}");
    let other = setup.folder.put("other.pem", &Authority::new("others").pem());
    let (good, text) = handshake(&openssl, server.proxy, &["-CAfile", &other]);
    assert!(!good && text.contains("unable to get local issuer"), "{text}");
    // Of a server that has nothing else to tell, since a log is spared what comes often.
    let server = setup.server(Way::Flag, &["proxy"], &[]);
    // Too old, and it is the server who says so: an openssl of today offers it at its lowest level only.
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    let (good, text) = handshake(&openssl, server.proxy, &[&believed[..], &old].concat());
    assert!(!good && text.contains("alert"), "{text}");
    let (_, record) = server.process.wait_record(0, SOON, "TLS handshake error").expect("a reason");
    let why = record["error"].as_str().expect("a reason");
    assert!(why.starts_with("the client offers no TLS version that is accepted: TLS 1.1 or older"), "{why}");
}

/// `client-cas`, as others see it: without a certificate, with one of strangers, and with the right one.
#[test]
fn clients_without_a_certificate_are_turned_away() {
    let (Some(openssl), Some(curl)) = (need("openssl"), need("curl")) else { return };
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["admin"], &[("admin.tls.client-cas", &setup.ca)]);
    let [cert, key] = setup.authority.issue(&["operator"]).write(&setup.folder, "operator");
    let strangers = Authority::new("strangers").issue(&["operator"]);
    let [strange_cert, strange_key] = strangers.write(&setup.folder, "stranger");
    let url = format!("https://localhost:{}/health", server.admin.port());
    for version in ["1.2", "1.3"] {
        let ask = |args: &[&str]| {
            let mut command = Command::new(&curl);
            command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", &setup.ca, &url]);
            command.args(["--tls-max", version]).args(args);
            let output = command.output().expect("curl starts");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            (String::from_utf8_lossy(&output.stdout).into_owned(), told)
        };
        assert_eq!(ask(&["--cert", &cert, "--key", &key]).0, "200", "{version}");
        for args in [&[][..], &["--cert", &strange_cert, "--key", &strange_key]] {
            let (status, told) = ask(args);
            assert!(status == "000" && told.contains("alert"), "{version}: {status}, {told}");
        }
        let flag = format!("-tls{}", version.replace('.', "_"));
        let ask = |args: &[&str]| {
            let mut command = Command::new(&openssl);
            command.args(["s_client", "-connect", &server.admin.to_string(), "-CAfile", &setup.ca, &flag]);
            // A server of TLS 1.3 says what it thinks behind the handshake: openssl has to listen for it.
            command.args(["-quiet", "-no_ign_eof"]).args(args).stdin(Stdio::piped());
            let mut child =
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("openssl starts");
            let mut input = child.stdin.take().expect("piped");
            let _ = std::io::Write::write_all(&mut input, b"GET /health HTTP/1.0\r\n\r\n");
            let output = child.wait_with_output().expect("openssl ends with the connection");
            drop(input);
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        };
        let text = ask(&["-cert", &cert, "-key", &key]);
        assert!(text.contains("HTTP/1.1 200 OK") || text.contains("HTTP/1.0 200 OK"), "{version}: {text}");
        let text = ask(&[]);
        assert!(text.contains("alert certificate required"), "{version}: {text}");
        let text = ask(&["-cert", &strange_cert, "-key", &strange_key]);
        assert!(text.contains("alert unknown ca"), "{version}: {text}");
    }
    let (_, record) = server.process.wait_record(0, SOON, "TLS handshake error").expect("is told");
    assert_eq!(record["error"], "peer sent no certificates");
}

/// A server does not notice that its certificate is over; its clients do.
#[test]
fn clients_see_that_a_certificate_has_expired() {
    let Some(openssl) = need("openssl") else { return };
    let setup = Setup::new();
    let expired = setup.authority.issue_expired(&["localhost"]);
    let [cert, key] = expired.write(&setup.folder, "expired");
    let server = piko_tests::flags::server(Way::Flag, &[("proxy.tls.cert", &cert), ("proxy.tls.key", &key)]);
    let (good, text) = handshake(&openssl, server.proxy, &["-CAfile", &setup.ca]);
    assert!(!good && text.contains("certificate has expired"), "{text}");
}

/// TLS 1.2 knows renegotiation, and we do not: the connection goes on without, or ends, and the server lives.
#[test]
fn renegotiation_is_refused() {
    use std::io::Write;
    let Some(openssl) = need("openssl") else { return };
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["proxy"], &[]);
    let mut command = Command::new(openssl);
    command.args(["s_client", "-connect", &server.proxy.to_string(), "-tls1_2", "-CAfile", &setup.ca]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl starts");
    // A line that is an R asks for it.
    child.stdin.take().expect("piped").write_all(b"R\n").expect("openssl reads");
    let output = child.wait_with_output().expect("openssl ends");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("RENEGOTIATING"), "{text}");
    assert!(text.contains("no renegotiation") || text.contains("error"), "{text}");
    assert_eq!(setup.client(server.proxy).get("/", &[]).expect("an answer").0, 400);
}

#[test]
fn curl_is_content() {
    let Some(curl) = need("curl") else { return };
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["admin"], &[]);
    let url = format!("https://localhost:{}/health", server.admin.port());
    let ask = |args: &[&str]| {
        let mut command = Command::new(&curl);
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", &url]).args(args);
        let output = command.output().expect("curl starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // HTTP/2 is wished for and not served.
    assert_eq!(ask(&["--cacert", &setup.ca, "--http2"]), (Some(0), "200 1.1".to_owned()));
    // 60: the certificate is not believed; 35: no handshake (curl(1)).
    assert_eq!(ask(&[]).0, Some(60));
    assert_eq!(ask(&["--cacert", &setup.ca, "--tls-max", "1.1"]).0, Some(35));
}
