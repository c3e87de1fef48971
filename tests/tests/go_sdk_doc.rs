//! The Go programs of `docs/go-sdk.md` are compiled, against the public API of the Go SDK in `interop/go_sdk`.

use piko_tests::certs::Folder;
use piko_tests::process::need;
use std::fs;
use std::path::Path;
use std::process::Command;

/// How the page writes the place of the SDK, which is each program's own affair.
const IMPORT: &str = "\"…/client\"";
const MODULE: &str = "example.invalid/piko/sdk/client";

#[test]
fn the_programs_of_the_page_compile() {
    let Some(go) = need("go") else { return };
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(package.join("../docs/go-sdk.md")).expect("the page");
    let blocks: Vec<&str> =
        page.split("```go\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 2, "a listener and a dialer");
    let folder = Folder::new("go-sdk");
    for file in ["go.mod", "client/client.go"] {
        let to = folder.path().join(file);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a place");
        fs::copy(package.join("interop/go_sdk").join(file), to).expect("a copy");
    }
    for (n, block) in blocks.into_iter().enumerate() {
        let program = if block.starts_with("package ") {
            assert!(block.contains(IMPORT), "{block}");
            block.replace(IMPORT, &format!("{MODULE:?}"))
        } else {
            around(block)
        };
        let place = folder.path().join(format!("snippet{n}"));
        fs::create_dir_all(&place).expect("a place");
        fs::write(place.join("main.go"), program).expect("a file");
    }
    let mut command = Command::new(go);
    // Vetting type-checks everything and builds nothing that nobody runs.
    command.args(["vet", "./..."]).current_dir(folder.path());
    command.envs([("CGO_ENABLED", "0"), ("GOPROXY", "off"), ("GOFLAGS", ""), ("GOWORK", "off")]);
    let output = command.output().expect("go starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A program around lines that stand in a function with a `ctx`.
fn around(lines: &str) -> String {
    format!(
        "package main\n\nimport (\n\t\"context\"\n\t\"net/url\"\n\n\tpiko {MODULE:?}\n)\n\n\
         func main() {{\n\tctx := context.Background()\n\t{lines}\n\t_, _ = conn, err\n}}\n"
    )
}
