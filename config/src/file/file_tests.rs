use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the file `text` says to a server in whose environment `SET` is `x`, and nothing else is set.
fn load(text: &str) -> Result<File, String> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("piko-file-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).expect("there is room");
    let told = path.to_str().expect("is text");
    let env = |name: &str| (name == "SET").then(|| "x".into());
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
    let many = format!("cluster: {{secret: ''}}\n{}", "# ${NO}\n".repeat(EMPTY_VARIABLES_MAX + 1));
    assert!(load(&many).expect_err("more than can be looked at").contains("cluster.secret: the variable NO"));
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
