//! What a request costs a server in instructions, with one endpoint registered and beside ten thousand others: a figure that
//! other work on the machine does not move, as it moves every figure in seconds.

#[path = "../bench/crowd.rs"]
mod crowd;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use crowd::{Crowd, ENDPOINTS};
use piko_tests::http::Client;
use piko_tests::process::{Agent, Server, binary, need};
use piko_tests::service::Service;

const HELP: &str = "\
usage: instructions [--rounds <n>]
  counts, with valgrind's callgrind, what a small request on a kept connection costs piko-server: with its endpoint alone, and
  with 10,000 more registered at the same server
environment: PIKO_BIN_DIR (a release build is what users have)
";

/// How long one count takes: several intervals of the keep-alives of tunnels (5 s).
const WINDOW: Duration = Duration::from_secs(15);
/// What the two medians may differ by.
const MORE_MAX: f64 = 1.05;

/// A server under callgrind, with an agent in front of a service.
struct Counted {
    server: Server,
    client: Client,
    /// Where callgrind writes.
    out: PathBuf,
    dumps: usize,
    _agent: Agent,
    _service: Service,
    _crowd: Option<Crowd>,
}

impl Counted {
    fn start(dir: &Path, valgrind: &Path, many: bool) -> Result<Self, String> {
        let out = dir.join(if many { "many" } else { "one" });
        let wrapper = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/under-callgrind");
        let program = binary("piko-server");
        let text = |path: &Path| path.to_str().map(str::to_owned).ok_or("a path that is no text");
        let (valgrind, program, file) = (text(valgrind)?, text(&program)?, text(&out)?);
        let env = [("VALGRIND", valgrind.as_str()), ("PROGRAM", &program), ("OUT", &file)];
        let server = Server::start_with(wrapper, &["--proxy.access-log.disable"], &env);
        let service = Service::start();
        let agent = Agent::http(&server.connect_url(), "bench", &service.addr().to_string(), &[]);
        let crowd = if many { Some(Crowd::register(&server.connect_url())?) } else { None };
        let client = Client::connect(server.proxy).map_err(|e| e.to_string())?;
        let mut counted =
            Self { server, client, out, dumps: 0, _agent: agent, _service: service, _crowd: crowd };
        // The first ones build tables and grow buffers.
        counted.ask(200)?;
        Ok(counted)
    }

    fn ask(&mut self, requests: u32) -> Result<(), String> {
        for _ in 0..requests {
            let answer =
                self.client.get("/hello", &[("x-piko-endpoint", "bench")]).map_err(|e| e.to_string())?;
            if answer.status() != 200 {
                return Err(format!("a request failed: {answer:?}"));
            }
        }
        Ok(())
    }

    fn control(&self, order: &str) -> Result<(), String> {
        let pid = self.server.process.pid().to_string();
        let output = Command::new("callgrind_control").args([order, &pid]).output();
        let output = output.map_err(|e| format!("callgrind_control: {e}"))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Instructions since the last `--zero`.
    fn total(&mut self) -> Result<f64, String> {
        self.control("--dump")?;
        self.dumps += 1;
        let path = self.out.with_extension(self.dumps.to_string());
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
        total.ok_or_else(|| format!("no totals in {}", path.display()))
    }

    /// Instructions of one request: those of a while with requests, without those of as long without any. In either one
    /// every tunnel sees the same number of keep-alives.
    fn per_request(&mut self) -> Result<f64, String> {
        self.control("--zero")?;
        let start = Instant::now();
        let mut requests = 0;
        while start.elapsed() < WINDOW {
            self.ask(100)?;
            requests += 100;
        }
        let took = start.elapsed();
        let busy = self.total()?;
        self.control("--zero")?;
        // The time that is compared with.
        thread::sleep(took);
        let idle = self.total()?;
        Ok((busy - idle) / f64::from(requests))
    }
}

fn main() -> ExitCode {
    let mut rounds = 3;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let number = args.next().and_then(|text| text.parse().ok());
        match (arg.as_str(), number) {
            ("--rounds", Some(n)) => rounds = n,
            _ => {
                eprint!("{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    match compare(rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            println!("FAILED: {text}");
            ExitCode::FAILURE
        }
    }
}

fn compare(rounds: u32) -> Result<(), String> {
    let Some(valgrind) = need("valgrind") else { return Ok(()) };
    let dir = std::env::temp_dir().join(format!("piko-instructions-{}", std::process::id()));
    fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let measured = measure(&dir, &valgrind, rounds.max(1));
    let _ = fs::remove_dir_all(&dir);
    let [one, many] = measured?;
    let more = many / one;
    println!("beside {ENDPOINTS} other endpoints: {more:.3} x");
    if more <= MORE_MAX { Ok(()) } else { Err(format!("{more:.3} x, and {MORE_MAX} x is the most")) }
}

/// The medians with one endpoint and with many, measured in turns.
fn measure(dir: &Path, valgrind: &Path, rounds: u32) -> Result<[f64; 2], String> {
    let mut servers = [Counted::start(dir, valgrind, false)?, Counted::start(dir, valgrind, true)?];
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (server, found) in servers.iter_mut().zip(&mut all) {
            found.push(server.per_request()?);
        }
    }
    let mut medians = [0.0; 2];
    for ((found, median), name) in all.iter_mut().zip(&mut medians).zip(["one endpoint", "with the others"]) {
        found.sort_by(f64::total_cmp);
        *median = found[found.len() / 2];
        println!(
            "{name}: {median:.0} instructions per request ({:.0} to {:.0}, {} rounds)",
            found[0],
            found[found.len() - 1],
            found.len()
        );
    }
    Ok(medians)
}
