//! Configuration files as operators have them, each loaded by a built program and observed in effect.

#[path = "config_files/agents.rs"]
mod agents;
#[path = "config_files/commands.rs"]
mod commands;
#[path = "config_files/operators.rs"]
mod operators;
#[path = "config_files/reload.rs"]
mod reload;
#[path = "config_files/reload_agent.rs"]
mod reload_agent;
#[path = "config_files/secrets.rs"]
mod secrets;
#[path = "config_files/servers.rs"]
mod servers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use piko_tests::process::{Process, Server, binary};

/// How long anything that happens at once may take on a busy machine, before it counts as what never comes.
const SOON: Duration = Duration::from_secs(60);

/// The path of one of the files.
fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config").join(name);
    assert!(path.exists(), "{}", path.display());
    path.to_str().expect("is text").to_owned()
}

/// A server with a file, on ports of the kernel's choice unless it is told otherwise.
fn server(file: &str, args: &[&str], env: &[(&str, &str)]) -> Server {
    let path = fixture(file);
    let args = [&["--config.path", path.as_str(), "--config.expand-env"], args].concat();
    Server::start_with(binary("piko-server"), &args, env)
}

/// Any program with a file, which is not waited for.
fn launch(program: &str, words: &[&str], file: &str, env: &[(&str, &str)]) -> Process {
    let mut command = Command::new(binary(program));
    command.args(words).args(["--config.path", &fixture(file), "--config.expand-env"]);
    command.envs(env.iter().copied());
    Process::spawn(program, &mut command).unwrap_or_else(|e| panic!("{program} does not start: {e}"))
}

/// A folder of its own for files that change, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("piko-config-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the folder can be made");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("is text").to_owned()
    }

    /// Puts a new file in the place of what is there, as editors and orchestrators do.
    fn write(&self, name: &str, text: &str) -> String {
        let fresh = self.0.join("fresh");
        std::fs::write(&fresh, text).expect("the folder can be written");
        std::fs::rename(&fresh, self.0.join(name)).expect("the folder can be written");
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
