//! The text of `--help` of every command, as it was agreed on.
//!
//! The files are written anew by `PIKO_WRITE_PAGES=1 cargo test -p piko-cli golden`.

use crate::commands::command;
use clap::Command;
use std::collections::BTreeSet;
use std::path::Path;

/// The help of a command and of all below it, by their words.
fn helps(command: &mut Command, words: &str, helps: &mut Vec<(String, String)>) {
    helps.push((words.to_owned(), command.render_help().to_string()));
    for inner in command.get_subcommands_mut() {
        if inner.get_name() != "help" && !inner.is_hide_set() {
            let words = format!("{words} {}", inner.get_name());
            self::helps(inner, &words, helps);
        }
    }
}

#[test]
fn help_is_what_was_agreed_on() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("help");
    let mut root = command();
    root.build();
    let mut all = Vec::new();
    helps(&mut root, "piko", &mut all);
    assert!(all.len() > 20, "only {} commands", all.len());
    let names: BTreeSet<String> =
        all.iter().map(|(words, _)| format!("{}.txt", words.replace(' ', "-"))).collect();
    if std::env::var_os("PIKO_WRITE_PAGES").is_some() {
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        for (words, text) in &all {
            let name = format!("{}.txt", words.replace(' ', "-"));
            std::fs::write(folder.join(name), text).expect("the folder can be written");
        }
    }
    let files =
        std::fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").file_name());
    let files: BTreeSet<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
    assert_eq!(files, names, "one file for each command");
    for (words, text) in &all {
        let name = format!("{}.txt", words.replace(' ', "-"));
        let agreed = std::fs::read_to_string(folder.join(name)).expect("is text");
        assert!(
            agreed == *text,
            "{words} --help has changed; when that was meant: PIKO_WRITE_PAGES=1 cargo test -p piko-cli golden\n{text}"
        );
    }
}
