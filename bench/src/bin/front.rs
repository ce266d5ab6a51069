//! What a request costs at the gateway, in one run beside nginx with a file and a bare axum route.
//!
//! `front [--program PATH] [--seconds N] [--quick] [--only PART]`, with the parts floors, key, answer and accepted. Each server is held to one core and whoever asks to another, so
//! that processor time is the server's alone; what is asked is asked over 64 connections that stay open. nginx is left
//! out where it is not installed.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures, and prints what it measured"
)]

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use bench::clients::{Ask, Asked, Pace, ask, request};
use bench::daemon::{Daemon, Home, cpu_of};
use bench::disk;
use bench::model_server::ModelServer;
use bench::table::{Row, part, render};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Processor time of a request above a bare route's, at most, in microseconds.
const MORE_US_MAX: f64 = 5.0;
/// Runs that are accepted in a second, at least.
const ACCEPTED_MIN: f64 = 5_000.0;
/// Time that the gateway adds to a model's answer: half of the answers, and 99 of 100.
const ADDED_P50_MAX: Duration = Duration::from_micros(150);
const ADDED_P99_MAX: Duration = Duration::from_millis(1);
/// Answers of a model in a second then.
const PROXIED_RATE: u32 = 1_000;
/// Syncs and commits from which the disk's own time is known.
const SYNCS: usize = 500;
/// Connections at once.
const CLIENTS: usize = 64;
/// The answer of the floors, as long as that of the route which is measured.
const BODY: &str = r#"{"created":1790000000,"id":"bench","object":"model","owned_by":"openclaw-agent"}"#;
/// Core of the server, and of whoever asks.
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// Where Debian has nginx.
const NGINX: &str = "/usr/sbin/nginx";

/// Whether a part is asked for.
fn wants(part: &str) -> bool {
    value("--only").is_none_or(|only| only == part)
}

fn value(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

/// Holds this thread, and what it starts from now on, to one core.
fn hold(core: usize) -> Outcome<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// A server that ends with its value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Server {
    fn start(command: &mut Command, address: SocketAddr) -> Outcome<Self> {
        hold(SERVER_CORE)?;
        let server = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        hold(CLIENT_CORE)?;
        let began = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if began.elapsed() > Duration::from_secs(20) {
                return Err(format!("nobody listens at {address}").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }
}

/// A figure: what was asked, and processor time of the server for one answer, in microseconds.
struct Load {
    asked: Asked,
    cpu_us: f64,
}

/// Asks a process for so long, after a moment in which nothing is counted.
fn load(pid: u32, what: &Ask) -> Outcome<Load> {
    let cpu = || cpu_of(&std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default());
    ask(&Ask {
        time: what.time / 8,
        ..what.clone()
    })?;
    let before = cpu();
    let asked = ask(what)?;
    let used = cpu().saturating_sub(before);
    if let Some(status) = &asked.first_refusal {
        return Err(format!("{} of {} were refused: {status}", asked.refused, asked.good).into());
    }
    let cpu_us = used.as_secs_f64() * 1e6 / asked.good as f64;
    Ok(Load { asked, cpu_us })
}

fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn flat(address: SocketAddr, path: &str, headers: &str, seconds: u64) -> Ask {
    Ask {
        address,
        request: request("GET", path, address, headers, ""),
        clients: CLIENTS,
        time: Duration::from_secs(seconds),
        pace: Pace::Flat,
    }
}

/// The bare route, in a process of its own.
fn serve_bare(address: SocketAddr) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let answer = async || ([("content-type", "application/json")], BODY);
        axum::serve(listener, Router::new().route("/x", get(answer))).await
    })?;
    Ok(())
}

fn bare(seconds: u64) -> Outcome<Load> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    let server = Server::start(command.args(["--bare", &address.to_string()]), address)?;
    load(server.0.id(), &flat(address, "/x", "", seconds))
}

fn nginx(folder: &Path, seconds: u64) -> Outcome<Option<Load>> {
    if !Path::new(NGINX).is_file() {
        return Ok(None);
    }
    let address = free_address()?;
    let files = folder.display();
    let config = format!(
        "daemon off;\nmaster_process off;\npid {files}/pid;\nerror_log {files}/error.log;\nevents {{}}\nhttp {{\n\
         access_log off;\nclient_body_temp_path {files}/b;\nproxy_temp_path {files}/p;\nfastcgi_temp_path {files}/f;\n\
         uwsgi_temp_path {files}/u;\nscgi_temp_path {files}/s;\nkeepalive_requests 100000000;\nsendfile on;\n\
         open_file_cache max=10;\nserver {{ listen {address}; root {files}; }} }}\n"
    );
    std::fs::write(folder.join("nginx.conf"), config)?;
    std::fs::write(folder.join("x"), BODY)?;
    let mut command = Command::new(NGINX);
    let command = command.arg("-e").arg(folder.join("error.log"));
    let server = Server::start(command.arg("-c").arg(folder.join("nginx.conf")), address)?;
    load(server.0.id(), &flat(address, "/x", "", seconds)).map(Some)
}

fn us(time: Duration) -> String {
    format!("{:.0} µs", time.as_secs_f64() * 1e6)
}

fn rows(name: &str, load: &mut Load, floor: Option<(f64, f64)>) -> Vec<Row> {
    let (rate, cpu) = (load.asked.per_second(), load.cpu_us);
    let late = us(load.asked.within(0.99));
    let requests = Row::new(format!("{name}: requests"), format!("{rate:.0}/s, p99 {late}"));
    let each = Row::new(format!("{name}: processor time of one"), format!("{cpu:.1} µs"));
    match floor {
        None => vec![requests, each],
        Some((floor_rate, floor_cpu)) => vec![
            requests.over(format!("{floor_rate:.0}/s"), rate / floor_rate),
            each.over(format!("{floor_cpu:.1} µs"), cpu / floor_cpu),
        ],
    }
}

/// The bare route's requests in a second and processor time of one; beside it nginx with a file.
fn floors(folder: &Path, seconds: u64, all: &mut Vec<Row>) -> Outcome<(f64, f64)> {
    let mut bare = bare(seconds)?;
    let floor = (bare.asked.per_second(), bare.cpu_us);
    if let Some(mut nginx) = nginx(folder, seconds)? {
        all.extend(rows("nginx, a file", &mut nginx, None));
    }
    all.extend(rows("bare axum route", &mut bare, None));
    Ok(floor)
}

/// A home whose limits are all asked and never say no, with a model that takes connections and says nothing.
fn home(program: &Path, folder: &Path, models_at: &str, silent: SocketAddr) -> Outcome<Home> {
    let home = Home::make(program, &folder.join("home"), models_at, &["at-once/0".to_owned()])?;
    let file = home.folder.join("openclaw.toml");
    let config = std::fs::read_to_string(&file)?;
    let limits = format!(
        "[gateway]\nrateLimit.perKey = 10000000\nrateLimit.perAgent = 10000000\nrateLimit.burst = 1000000\n\
         rateLimit.atOncePerKey = 1000\nmaxConnectionsPerAddress = {}",
        4 * CLIENTS
    );
    let waits =
        format!("\n[models.silent]\nprovider = \"openai\"\nid = \"silent\"\nbaseUrl = \"http://{silent}/v1\"\n");
    std::fs::write(&file, config.replacen("[gateway]", &limits, 1) + &waits)?;
    Ok(home)
}

/// What a request costs that only passes the door.
fn door((pid, address): (u32, SocketAddr), key: &str, seconds: u64, floor: (f64, f64)) -> Outcome<Vec<Row>> {
    let mut probe = load(pid, &flat(address, "/livez", "", seconds))?;
    let mut keyed = load(pid, &flat(address, "/v1/models/bench", key, seconds))?;
    let more = keyed.cpu_us - floor.1;
    let mut all = rows("gateway, probe", &mut probe, Some(floor));
    all.extend(rows("gateway, key, limits, metrics", &mut keyed, Some(floor)));
    all.push(
        Row::new("gateway, above the bare route", format!("{more:.1} µs"))
            .wanted(format!("{MORE_US_MAX} µs"), more <= MORE_US_MAX),
    );
    Ok(all)
}

/// What the gateway adds to a model's answer, beside what the disk takes for the one thing that the answer waits for: a
/// commit of the store, two syncs of the disk.
fn answers(
    (pid, gateway): (u32, SocketAddr),
    model: SocketAddr,
    folder: &Path,
    typed: &str,
    seconds: u64,
) -> Outcome<Vec<Row>> {
    let chat = |model: &str| json!({ "model": model, "messages": [{ "role": "user", "content": "x" }] }).to_string();
    let at_rate = |address: SocketAddr, body: &str, rate: u32| Ask {
        request: request("POST", "/v1/chat/completions", address, typed, body),
        pace: Pace::Rate(rate),
        ..flat(address, "/v1/chat/completions", "", seconds)
    };
    let mut syncs = disk::appends(folder, SYNCS)?;
    let mut commits = disk::commits(folder, SYNCS)?;
    let mut all = Vec::new();
    for (times, name) in [
        (&mut syncs, "4 KiB appended and synced"),
        (&mut commits, "a commit of the store"),
    ] {
        let (half, late) = (us(part(times, 0.5)), us(part(times, 0.99)));
        all.push(Row::new(format!("floor: {name}"), format!("p50 {half}, p99 {late}")));
    }
    for rate in [PROXIED_RATE / 10, PROXIED_RATE] {
        let mut direct = ask(&at_rate(model, &chat("at-once/0"), rate))?;
        let mut proxied = load(pid, &at_rate(gateway, &chat("m0"), rate))?;
        for (share, name, most) in [(0.5, "p50", ADDED_P50_MAX), (0.99, "p99", ADDED_P99_MAX)] {
            let added = proxied.asked.within(share).saturating_sub(direct.within(share));
            let floor = part(&mut commits, share);
            let row = Row::new(format!("a model's answer, {rate}/s: added, {name}"), us(added));
            let row = row.over(us(floor), added.as_secs_f64() / floor.as_secs_f64());
            all.push(if rate == PROXIED_RATE {
                row.wanted(us(most), added <= most)
            } else {
                row
            });
        }
        all.push(Row::new(
            format!("a model's answer, {rate}/s: asked for"),
            format!(
                "{:.0}/s, {:.0} µs of the processor",
                proxied.asked.per_second(),
                proxied.cpu_us
            ),
        ));
    }
    Ok(all)
}

/// Runs that are accepted in a second. They stay active, so the bound of active runs bounds the time too.
fn accepted(daemon: &Daemon<'_>, home: &Home, typed: &str) -> Outcome<Vec<Row>> {
    let (address, workspace) = (home.address(), home.folder.join("work"));
    let body = json!({ "task": "wait", "agent": "bench", "model": "silent", "workspace": workspace }).to_string();
    let submit = Ask {
        request: request("POST", "/v1/runs", address, typed, &body),
        ..flat(address, "/v1/runs", "", 1)
    };
    let cpu = daemon.cpu();
    let mut accepted = ask(&submit)?;
    let each = daemon.cpu().saturating_sub(cpu).as_secs_f64() * 1e6 / accepted.good.max(1) as f64;
    let rate = accepted.per_second();
    let told = format!(
        "{rate:.0}/s, p99 {}, {} refused",
        us(accepted.within(0.99)),
        accepted.refused
    );
    let is_good = accepted.refused == 0 && rate >= ACCEPTED_MIN;
    Ok(vec![
        Row::new("durable runs accepted, 64 clients", told).wanted(format!("{ACCEPTED_MIN:.0}/s"), is_good),
        Row::new("durable runs accepted: processor time of one", format!("{each:.0} µs")),
    ])
}

fn main() -> Outcome<ExitCode> {
    if let Some(address) = value("--bare") {
        serve_bare(address.parse()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let program = value("--program").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/openclaw")),
        PathBuf::from,
    );
    let seconds: u64 = value("--seconds").map_or(Ok(if is_quick { 1 } else { 8 }), |text| text.parse())?;
    hold(CLIENT_CORE)?;
    let folder = tempfile::tempdir()?;
    let mut all = Vec::new();
    let floor = if wants("floors") || wants("key") {
        Some(floors(folder.path(), seconds, &mut all)?)
    } else {
        None
    };

    let server = ModelServer::start()?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let home = home(&program, folder.path(), &server.base_url(), silent.local_addr()?)?;
    hold(SERVER_CORE)?;
    let daemon = home.start();
    hold(CLIENT_CORE)?;
    let daemon = daemon?;
    let gateway = (daemon.pid(), home.address());
    let key = format!("authorization: Bearer {}\r\n", home.key());
    let typed = format!("{key}content-type: application/json\r\n");
    if let Some(floor) = floor.filter(|_| wants("key")) {
        all.extend(door(gateway, &key, seconds, floor)?);
    }
    if wants("answer") {
        all.extend(answers(gateway, server.address(), folder.path(), &typed, seconds)?);
    }
    if wants("accepted") {
        all.extend(accepted(&daemon, &home, &typed)?);
    }
    println!("{}", render(&all));
    let is_missed = !is_quick && all.iter().any(|row| row.met == Some(false));
    // By its value and not at once: the daemon and its home go with what is dropped here.
    Ok(if is_missed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
