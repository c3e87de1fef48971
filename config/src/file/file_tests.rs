use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the file `text` says to a server in whose environment `SET` is `x`, and nothing else is set.
fn load(text: &str) -> Result<File, String> {
    load_with(text, "")
}

/// As [`load`], and `V` is `value`.
fn load_with(text: &str, value: &str) -> Result<File, String> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("piko-file-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).expect("there is room");
    let told = path.to_str().expect("is text");
    let env = |name: &str| match name {
        "SET" => Some("x".into()),
        "V" => Some(value.into()),
        _ => None,
    };
    let loaded = File::load(Program::Server, told, true, &env);
    let _ = std::fs::remove_file(&path);
    loaded.map_err(|error| {
        assert_eq!(error.exit_code(), 1, "{error}");
        error.to_string().replace(told, "FILE")
    })
}

#[test]
fn a_variable_that_is_empty_opens_nothing() {
    for (text, line, key) in [
        ("upstream:\n  auth:\n    hmac_secret_key: ${NO}\n", 3, "upstream.auth.hmac_secret_key"),
        ("upstream: {auth: {hmac_secret_key: \"${NO}\"}}\n", 1, "upstream.auth.hmac_secret_key"),
        ("upstream: {auth: {hmac_secret_key: '${NO:}'}}\n", 1, "upstream.auth.hmac_secret_key"),
        ("upstream: {auth: {hmac_secret_key: $NO}}\n", 1, "upstream.auth.hmac_secret_key"),
        ("proxy:\n  auth:\n    rsa_public_key:\n      ${NO}\n", 4, "proxy.auth.rsa_public_key"),
        ("proxy:\n  auth:\n    ecdsa_public_key: |-\n      ${NO}\n", 4, "proxy.auth.ecdsa_public_key"),
        ("admin: {auth: {jwks: {endpoint: ${NO}}}}\n", 1, "admin.auth.jwks.endpoint"),
        ("admin: {auth: {jwks: ${NO}}}\n", 1, "admin.auth.jwks"),
        ("upstream:\n  auth: ${NO}\n", 2, "upstream.auth"),
        ("upstream: {tenants: ${NO}}\n", 1, "upstream.tenants"),
        ("upstream: {tenants: [${NO}]}\n", 1, "upstream.tenants"),
        ("cluster: {secret: ${NO}}\n", 1, "cluster.secret"),
        ("cluster: {secret_file: ${NO}}\n", 1, "cluster.secret_file"),
        ("proxy: {tls: {cert: a, key: b, client_cas: ${NO}}}\n", 1, "proxy.tls.client_cas"),
        // Beside others, one of which stands where nothing else could.
        ("${NOT}\nlog: {level: \"${SET}\"}\ncluster: {secret: ${NO}${NOT}}\n", 3, "cluster.secret"),
        ("cluster: {node_id: &n \"${NO}\", secret: *n}\n", 1, "cluster.secret"),
    ] {
        let why = "the variable NO is unset or empty, and an empty value protects nothing";
        assert_eq!(load(text).expect_err(text), format!("parse config: FILE:{line}: {key}: {why}"), "{text}");
    }
}

#[test]
fn what_is_written_out_as_empty_is_what_go_takes_it_for() {
    for text in [
        "upstream: {auth: {hmac_secret_key: \"\"}}\n",
        "upstream: {auth: {hmac_secret_key: , jwks: {endpoint: ~}}}\n",
        "upstream: {auth: {}, tenants: []}\n",
        "upstream: {auth: , tenants: }\n",
        "cluster: {secret: '', join: [${NO}]}\n",
        "# ${NO}\ncluster: {secret: , node_id: ${NO}}\n",
        "proxy: {tls: {client_cas: \"\", cert: \"${NO}\"}}\n",
        "proxy: {auth: {disable_disconnect_on_expiry: ${NO}}}\n",
        "proxy: {auth: {jwks: {cache_ttl: ${NO}}}}\n",
    ] {
        assert!(load(text).is_ok(), "{text}: {:?}", load(text));
    }
    // However many: they are looked at all at once, and one by one where one of them is no value.
    let many = |before: &str| format!("{before}cluster: {{secret: ''}}\n{}", "# ${NO}\n".repeat(600));
    assert!(load(&many("")).is_ok());
    let told = load(&many("${NO}\n")).expect_err("more than can be looked at");
    assert!(told.contains("more than 500 variables that are empty"), "{told}");
}

/// What a variable holds is YAML unless it stands in quotes, and much of YAML is nothing.
#[test]
fn a_variable_that_means_nothing_to_yaml_opens_nothing() {
    for value in
        ["#kT9vQ2", "~", "null", "Null", "!abc", "&abc", "\"\"", "''", "\n", " ", "\t", "|", ">-", "# \n#"]
    {
        for (text, key) in [
            ("cluster:\n  secret: ${V}\n", "cluster.secret"),
            ("cluster:\n  secret: ${NO}${V}\n  node_id: ${SET}\n", "cluster.secret"),
            ("cluster:\n  secret_file: ${V:x}\n", "cluster.secret_file"),
            ("upstream:\n  tls:\n    client_cas: ${V}\n", "upstream.tls.client_cas"),
            ("upstream:\n  auth:\n    hmac_secret_key: $V\n", "upstream.auth.hmac_secret_key"),
            ("${NO}\ncluster:\n  secret: ${V}\n", "cluster.secret"),
        ] {
            let told = load_with(text, value).map(|_| ()).expect_err(&format!("{text}{value:?}"));
            assert!(told.starts_with("parse config: FILE:"), "{told}");
            assert!(
                told.contains(&format!("{key}: the variable ")) || told.contains("did not find"),
                "{told}"
            );
            assert!(!told.contains("kT9vQ2"), "{told}");
        }
    }
    for value in ["~", "null", "{}"] {
        let told = load_with("upstream:\n  auth: ${V}\n", value).expect_err(value);
        assert!(told.contains("FILE:2: upstream.auth: the variable V leaves it empty"), "{told}");
    }
    for value in [" ", "\t", "\n", "\\n", "\" #"] {
        let told = load_with("cluster: {secret: \"${V}\"\n}\n", value).expect_err(value);
        assert!(told.contains("cluster.secret: the variable V leaves it empty"), "{value:?}: {told}");
    }
    // In quotes, or without a meaning, it is a value like any other.
    for (text, value) in [
        ("cluster: {secret: '${V}'}\n", "#kT9vQ2"),
        ("cluster: {secret: '${V}'}\n", "~"),
        ("cluster: {secret: ${V}}\n", "a#b"),
        ("cluster:\n  secret: |-\n    ${V}\n", "#kT9vQ2"),
        ("cluster: ${V}\n", "{secret: abc, join: [a, b]}"),
        ("${V}\n", "cluster: {secret: abc}"),
        ("grace_period: ${V}\ncluster: {secret: ${SET}}\n", "5s"),
        ("cluster: {secret: ${SET}, join: ${V}}\n", "[a]"),
        ("cluster: {secret: ${SET}} ${V}\n", "# why"),
        ("upstream: {rebalance: {min_conns: ${V}, threshold: ${V}}}\nlog: {level: ${SET:info}}\n", "5"),
    ] {
        let loaded = load_with(text, value);
        assert!(loaded.is_ok() || text.contains("level"), "{text}: {loaded:?}");
    }
}

/// A file of white space is no secret, and neither is white space.
#[test]
fn white_space_protects_nothing() {
    use crate::values::{Command, Values};
    let told = |given: &[(&str, String)], variable: &str| {
        let env = |name: &str| (name == variable).then(|| " \t".into());
        Values::resolve(Command::Server, given, &env).map(|_| ()).expect_err("is refused").to_string()
    };
    for name in ["cluster.secret", "cluster.secret-file", "upstream.tls.client-cas"] {
        let why = "white space alone protects nothing";
        let variable = format!("PIKO_{}", name.replace(['.', '-'], "_").to_uppercase());
        assert!(told(&[(name, " ".to_owned())], "").contains(&format!("--{name}: {why}")));
        assert!(told(&[], &variable).contains(&format!("{variable}: {why}")));
    }
    let path = std::env::temp_dir().join(format!("piko-white-{}.yaml", std::process::id()));
    std::fs::write(&path, "cluster: {secret: ' '}\n").expect("there is room");
    let file = path.to_str().expect("is text").to_owned();
    let why = format!("config: white space alone protects nothing [{file}: cluster.secret]");
    assert_eq!(told(&[("config.path", file)], ""), why);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn a_file_of_comments_is_blank() {
    for text in
        ["", "\n", "# a\n  # b\n", "---\n", "--- # c\n...\n", "%YAML 1.2\n---\n", "\u{feff}# a", "${NO}\n"]
    {
        assert!(load(text).expect(text).is_blank, "{text}");
    }
    for text in ["{}\n", "log:\n", "# a\nlog: {level: warn}\n", "--- {}\n"] {
        assert!(!load(text).expect(text).is_blank, "{text}");
    }
}

/// A file may hold either form of a secret, and a variable or a flag the other one.
#[test]
fn a_secret_beats_the_other_form_of_it_in_a_weaker_source() {
    use crate::options::{ClusterOptions, ServerOptions};
    use crate::values::{Command, Values};
    let path = std::env::temp_dir().join(format!("piko-secret-{}.yaml", std::process::id()));
    let told = path.to_str().expect("is text").to_owned();
    let cluster = |text: &str, variable: &str, flag: &str| -> Result<ClusterOptions, String> {
        std::fs::write(&path, text).expect("there is room");
        let mut given = vec![("config.path", told.clone())];
        given.extend((!flag.is_empty()).then(|| (flag, "of the flag".to_owned())));
        let env = |name: &str| (name == variable).then(|| "of the variable".into());
        let values = Values::resolve(Command::Server, &given, &env).expect("is well-formed");
        let options = ServerOptions::from_values(&values).map_err(|error| {
            assert_eq!(error.exit_code(), 1, "{error}");
            error.to_string().replace(&told, "FILE")
        });
        options.map(|options| options.cluster)
    };
    let given = |options: Result<ClusterOptions, String>| {
        let options = options.expect("is accepted");
        (options.secret.map(|secret| secret.reveal().to_owned()), options.secret_file)
    };
    let (secret, file) = ("cluster: {secret: of the file}\n", "cluster: {secret_file: of the file}\n");
    let (variable, flag) = (Some("of the variable".to_owned()), Some("of the flag".to_owned()));
    assert_eq!(given(cluster(file, "PIKO_CLUSTER_SECRET", "")), (variable.clone(), None));
    assert_eq!(given(cluster(secret, "PIKO_CLUSTER_SECRET_FILE", "")), (None, variable));
    assert_eq!(given(cluster(file, "PIKO_CLUSTER_SECRET", "cluster.secret-file")), (None, flag.clone()));
    assert_eq!(given(cluster(file, "", "cluster.secret")), (flag, None));
    let both = cluster("cluster: {secret: a, secret_file: b}\n", "", "").expect_err("is refused");
    let origins = "[FILE: cluster.secret, FILE: cluster.secret_file]";
    assert_eq!(both, format!("config: cluster: secret and secret-file cannot both be set {origins}"));
    let _ = std::fs::remove_file(&path);
}
