use super::*;
use crate::options::{ForwardOptions, ServerOptions};
use crate::values::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder of its own with a file in it, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("piko-reload-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the folder can be made");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("server.yaml")
    }

    /// A new file in the place of the old one, which is another inode and hence a change whatever the clock says.
    fn write(&self, text: &str) {
        let fresh = self.0.join("fresh");
        std::fs::write(&fresh, text).expect("the folder can be written");
        std::fs::rename(&fresh, self.file()).expect("the folder can be written");
    }

    fn reload(&self) -> (Reload<ServerOptions>, Arc<Level>) {
        let given = [("config.path", self.file().to_str().expect("is text").to_owned())];
        let values = Values::resolve(Command::Server, &given, &|_| None).expect("is good");
        let options = ServerOptions::from_values(&values).expect("is good");
        let part = Arc::new(Level::default());
        let mut reload = Reload::new(&options.start, |_| None, ServerOptions::from_values);
        reload.add(part.clone(), &options);
        (reload, part)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Keeps the grace period of what it was told, and wants none of more than an hour.
#[derive(Default)]
struct Level {
    taken: Arc<Mutex<Vec<u64>>>,
    more: Mutex<Option<PathBuf>>,
}

impl Level {
    fn taken(&self) -> Vec<u64> {
        self.taken.lock().expect("no test panics under the lock").clone()
    }
}

impl Part<ServerOptions> for Level {
    fn files(&self, _: &ServerOptions) -> Vec<PathBuf> {
        self.more.lock().expect("no test panics under the lock").iter().cloned().collect()
    }

    fn prepare(&self, options: &ServerOptions) -> Result<Box<dyn FnOnce() + Send>, String> {
        let seconds = options.grace_period.as_secs();
        if seconds > 3600 {
            return Err("too long".to_owned());
        }
        let taken = self.taken.clone();
        Ok(Box::new(move || taken.lock().expect("no test panics under the lock").push(seconds)))
    }
}

#[test]
fn a_new_file_is_taken_over() {
    let folder = Folder::new();
    folder.write("grace_period: 1s\n");
    let (mut reload, part) = folder.reload();
    folder.write("grace_period: 2s\nlog: {level: warn}\ncluster: {node_id: x}\n");
    let reloaded = reload.reload().expect("is good");
    assert_eq!(reloaded.applied, ["grace-period", "log.level"]);
    assert_eq!(reloaded.waiting, ["cluster.node-id"]);
    assert_eq!(part.taken(), [2]);
}

#[test]
fn a_bad_file_changes_nothing() {
    let folder = Folder::new();
    folder.write("grace_period: 1s\n");
    let (mut reload, part) = folder.reload();
    for (text, words) in [
        ("grace_period: soon\n", "server.yaml:1: grace_period: \"soon\" is no duration"),
        ("grace_period: 0\n", "config: missing grace period"),
        ("grace_period: 2h\n", "too long"),
        ("proxy: [\n", "parse config: "),
    ] {
        folder.write(text);
        let error = reload.reload().expect_err(text);
        assert!(error.contains(words), "{error}");
    }
    std::fs::remove_file(folder.file()).expect("is there");
    assert!(reload.reload().expect_err("is gone").contains("no such file"));
    std::fs::create_dir(folder.file()).expect("the folder can be written");
    assert_eq!(reload.files(), [folder.file()]);
    assert!(reload.reload().expect_err("is no file").contains("server.yaml: is a directory"));
    std::fs::remove_dir(folder.file()).expect("is there");
    assert_eq!(part.taken(), [0; 0]);
    folder.write("grace_period: 3s\n");
    assert_eq!(reload.reload().expect("is good").applied, ["grace-period"]);
    assert_eq!(part.taken(), [3]);
}

/// What waits is told once, and measured by what runs: whoever takes a change back has nothing to restart for.
#[test]
fn what_runs_waits_for_nothing() {
    let folder = Folder::new();
    folder.write("cluster: {node_id: a}\n");
    let (mut reload, _) = folder.reload();
    let none: [&str; 0] = [];
    for (text, waiting) in [
        ("cluster: {node_id: b}\n", &["cluster.node-id"][..]),
        ("cluster: {node_id: b}\nproxy: {bind_addr: ':1'}\n", &["proxy.bind-addr"]),
        ("cluster: {node_id: b}\nproxy: {bind_addr: ':1'}\n", &none),
        ("cluster: {node_id: a}\nproxy: {bind_addr: ':1'}\n", &none),
        ("cluster: {node_id: c}\nproxy: {bind_addr: ':1'}\n", &["cluster.node-id"]),
        ("cluster: {node_id: a}\n", &none),
        // It has no effect, now or then.
        ("cluster: {node_id: a}\nupstream: {advertise_addr: '10.0.0.1:1'}\n", &none),
        ("cluster: {node_id: a}\n", &none),
    ] {
        folder.write(text);
        let reloaded = reload.reload().expect("is good");
        assert_eq!((&reloaded.waiting[..], &reloaded.applied[..]), (waiting, &none[..]), "{text}");
    }
}

/// `ports` of a forwarder, whether there are more of them or others.
#[test]
fn ports_wait_as_a_whole() {
    let folder = Folder::new();
    let ports = |of: &[(u16, &str)]| {
        let entries: Vec<_> = of
            .iter()
            .map(|(port, endpoint)| format!("{{addr: '{port}', endpoint_id: {endpoint}}}"))
            .collect();
        format!("ports: [{}]\n", entries.join(", "))
    };
    folder.write(&ports(&[(1, "a")]));
    let given = [("config.path", folder.file().to_str().expect("is text").to_owned())];
    let values = Values::resolve(Command::ForwardStart, &given, &|_| None).expect("is good");
    let options = ForwardOptions::from_values(&values).expect("is good");
    let mut reload = Reload::new(&options.start, |_| None, ForwardOptions::from_values);
    for (of, is_told) in [
        (&[(1, "a"), (2, "b")][..], true),
        (&[(1, "a")], false),
        (&[(1, "a"), (2, "b")], true),
        (&[(2, "a")], true),
        (&[(2, "b")], true),
        (&[(1, "a")], false),
    ] {
        folder.write(&ports(of));
        let waiting = reload.reload().expect("is good").waiting;
        assert_eq!(waiting, if is_told { vec!["ports"] } else { Vec::new() }, "{of:?}");
    }
}

/// A part that agrees takes nothing over when another one does not.
#[test]
fn all_parts_or_none() {
    let folder = Folder::new();
    folder.write("{}\n");
    let (mut reload, part) = folder.reload();
    struct Never;
    impl Part<ServerOptions> for Never {
        fn prepare(&self, _: &ServerOptions) -> Result<Box<dyn FnOnce() + Send>, String> {
            Err("never".to_owned())
        }
    }
    reload.add(Arc::new(Never), &ServerOptions::default());
    assert_eq!(reload.reload(), Err("never".to_owned()));
    assert_eq!(part.taken(), [0; 0]);
}

#[test]
fn files_of_parts_count() {
    let folder = Folder::new();
    folder.write("{}\n");
    let (mut reload, part) = folder.reload();
    assert_eq!(reload.files(), [folder.file()]);
    let certificate = folder.0.join("certificate");
    *part.more.lock().expect("no test panics under the lock") = Some(certificate.clone());
    assert_eq!(reload.reload(), Ok(Reloaded::default()));
    assert_eq!(reload.files(), [certificate, folder.file()]);
    assert_eq!(part.taken(), [60]);
}

/// A part may be unable to take over what others could.
#[test]
fn a_part_may_let_a_flag_wait() {
    struct Stubborn;
    impl Part<ServerOptions> for Stubborn {
        fn prepare(&self, _: &ServerOptions) -> Result<Box<dyn FnOnce() + Send>, String> {
            Ok(Box::new(|| ()))
        }

        fn is_waiting(&self, options: &ServerOptions, flag: &str) -> bool {
            flag == "proxy.timeout" && options.proxy.timeout.is_none()
        }
    }
    let folder = Folder::new();
    folder.write("{}\n");
    let (mut reload, _) = folder.reload();
    reload.add(Arc::new(Stubborn), &ServerOptions::default());
    folder.write("proxy: {timeout: 1s}\ngrace_period: 2s\n");
    assert_eq!(reload.reload().expect("is good").applied, ["grace-period", "proxy.timeout"]);
    folder.write("proxy: {timeout: 0}\n");
    let reloaded = reload.reload().expect("is good");
    assert_eq!((reloaded.applied, reloaded.waiting), (vec!["grace-period"], vec!["proxy.timeout"]));
}

/// Such as `--config.path <(decrypt server.yaml)`: there is nothing in a pipe the second time, and nothing is no
/// configuration to take over.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_read_once() {
    let folder = Folder::new();
    std::os::unix::fs::symlink("/dev/null", folder.file()).expect("the folder can be written");
    let (mut reload, part) = folder.reload();
    assert!(reload.files().is_empty());
    assert_eq!(reload.reload(), Ok(Reloaded::default()));
    // What comes in its place later is nothing that the program was started with.
    folder.write("grace_period: 1s\n");
    assert_eq!(reload.reload(), Ok(Reloaded::default()));
    assert_eq!(part.taken(), [0; 0]);
}

/// A device in the place of a file empties the configuration as much as an empty file does.
#[cfg(unix)]
#[test]
fn what_is_no_file_any_more_is_refused() {
    let folder = Folder::new();
    folder.write("grace_period: 1s\n");
    let (mut reload, part) = folder.reload();
    std::fs::remove_file(folder.file()).expect("is there");
    std::os::unix::fs::symlink("/dev/null", folder.file()).expect("the folder can be written");
    assert_eq!(reload.files(), [folder.file()]);
    assert!(reload.reload().expect_err("is no file").contains("server.yaml: no file any more"));
    assert_eq!(part.taken(), [0; 0]);
    folder.write("grace_period: 2s\n");
    assert_eq!(reload.reload().map(|reloaded| reloaded.applied), Ok(vec!["grace-period"]));
}

/// What a part reads from a file of its own may wait for a restart without any value being new.
#[test]
fn a_part_may_know_of_files_that_wait() {
    struct Secret;
    impl Part<ServerOptions> for Secret {
        fn prepare(&self, _: &ServerOptions) -> Result<Box<dyn FnOnce() + Send>, String> {
            Ok(Box::new(|| ()))
        }

        fn outdated(&self, _: &ServerOptions) -> Vec<&'static str> {
            vec!["cluster.secret-file"]
        }
    }
    let folder = Folder::new();
    folder.write("{}\n");
    let (mut reload, _) = folder.reload();
    reload.add(Arc::new(Secret), &ServerOptions::default());
    assert_eq!(reload.reload().expect("is good").waiting, ["cluster.secret-file"]);
    folder.write("cluster: {secret_file: a, node_id: b}\n");
    assert_eq!(reload.reload().expect("is good").waiting, ["cluster.node-id", "cluster.secret-file"]);
}

#[test]
fn flags_still_beat_the_file() {
    let folder = Folder::new();
    folder.write("grace_period: 1s\n");
    let given = [
        ("config.path", folder.file().to_str().expect("is text").to_owned()),
        ("grace-period", "9s".to_owned()),
    ];
    let values = Values::resolve(Command::Server, &given, &|_| None).expect("is good");
    let options = ServerOptions::from_values(&values).expect("is good");
    let part = Arc::new(Level::default());
    let mut reload = Reload::new(&options.start, |_| None, ServerOptions::from_values);
    reload.add(part.clone(), &options);
    folder.write("grace_period: 2s\n");
    assert_eq!(reload.reload(), Ok(Reloaded::default()));
    assert_eq!(part.taken(), [9]);
}

/// A write in progress and a template that failed look like that; all defaults would be far from what was there.
#[test]
fn a_file_that_was_emptied_is_refused() {
    let folder = Folder::new();
    folder.write("grace_period: 1s\n");
    let (mut reload, part) = folder.reload();
    for text in ["", "# nothing\n---\n"] {
        folder.write(text);
        let error = reload.reload().expect_err("nothing is hardly meant");
        assert!(error.contains("server.yaml: nothing but comments"), "{error}");
    }
    assert_eq!(part.taken(), []);
    folder.write("{}\n");
    assert_eq!(reload.reload().map(|reloaded| reloaded.applied), Ok(vec!["grace-period"]));
    // Neither does one object that began with nothing.
    let (mut reload, _) = {
        folder.write("# nothing\n");
        folder.reload()
    };
    assert!(reload.reload().is_ok());
}
