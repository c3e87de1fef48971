use super::*;
use crate::values::Command;

fn ports(list: &str) -> Result<Vec<(String, String)>, String> {
    let given = [("proxy.tcp.ports", list.to_owned())];
    let values = Values::resolve(Command::Server, &given, &|_| None).map_err(|error| error.to_string())?;
    let options = TcpOptions::from_values(&values).map_err(|error| error.to_string())?;
    Ok(options.ports.into_iter().map(|port| (port.bind.to_string(), port.endpoint)).collect())
}

#[test]
fn ports_lead_to_endpoints() {
    let pair = |addr: &str, endpoint: &str| (addr.to_owned(), endpoint.to_owned());
    assert_eq!(ports(""), Ok(vec![]));
    let two = ports(":5432=db,[::1]:22=ssh=1");
    assert_eq!(two, Ok(vec![pair(":5432", "db"), pair("[::1]:22", "ssh=1")]));
    assert_eq!(ports("localhost:1=a").expect("a name is an address"), [pair("localhost:1", "a")]);
    // The system finds a port for each.
    assert_eq!(ports(":0=a,:0=b").expect("two ports").len(), 2);
}

#[test]
fn entries_that_lead_nowhere_are_refused_by_name() {
    for (list, why) in [
        ("5432", "config: proxy: tcp: ports: \"5432\" is no <addr>=<endpoint>"),
        ("5432=db", "config: proxy: tcp: ports: 5432: invalid addr"),
        ("host:=db", "config: proxy: tcp: ports: host:: invalid addr"),
        (":1=", "config: proxy: tcp: ports: :1: missing endpoint"),
        (":1=a/b", "config: proxy: tcp: ports: :1: invalid endpoint"),
        (":1=a,:1=b", "config: proxy: tcp: ports: :1: the address stands here twice"),
    ] {
        let error = ports(list).expect_err(list);
        assert!(error.starts_with(why) && error.contains("--proxy.tcp.ports"), "{error}");
    }
    assert!(ports(&format!(":1={}", "x".repeat(1025))).is_err());
}

fn sni(given: &[(&str, &str)]) -> Result<Option<(String, Option<String>)>, String> {
    let given: Vec<_> = given.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    let values = Values::resolve(Command::Server, &given, &|_| None).map_err(|error| error.to_string())?;
    let options = TcpOptions::from_values(&values).map_err(|error| error.to_string())?;
    Ok(options.sni.map(|sni| (sni.bind.to_string(), sni.domain)))
}

#[test]
fn names_lead_to_endpoints_where_a_port_is_given() {
    let bind = ("proxy.tcp.sni.bind-addr", ":8443");
    let domain = |text| ("proxy.tcp.sni.domain", text);
    assert_eq!(sni(&[]), Ok(None));
    assert_eq!(sni(&[bind]), Ok(Some((":8443".to_owned(), None))));
    for text in ["tcp.example.com", ".tcp.example.com", "tcp.example.com."] {
        let named = Some("tcp.example.com".to_owned());
        assert_eq!(sni(&[bind, domain(text)]), Ok(Some((":8443".to_owned(), named))), "{text}");
    }
    for text in ["*.example.com", "a/b", ".", "a..b"] {
        let error = sni(&[bind, domain(text)]).expect_err(text);
        assert!(error.contains("invalid domain"), "{error}");
    }
    let error = sni(&[domain("a")]).expect_err("no port");
    assert!(error.contains("missing bind addr"), "{error}");
}
