//! A rolling restart under load: the control plane and then each agent, with no failed request.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::support::{
    ADMIN_TOKEN, ControlPlane, PATIENCE, Running, easyenclave, installed, start_agent,
    start_backend, wait_until,
};

/// What systemd does with a socket unit and `Restart=always`: holds the sockets, hands them to one
/// process after another.
const SERVICE_MANAGER: &str = r#"
import json, os, socket, sys
sockets = [socket.create_server(("127.0.0.1", 0), backlog=4096) for _ in range(2)]
ports = [str(s.getsockname()[1]) for s in sockets]
status = 0
while status == 0:
    child = os.fork()
    if child == 0:
        for at, s in enumerate(sockets):
            if s.fileno() != 3 + at:
                os.dup2(s.fileno(), 3 + at)
            os.set_inheritable(3 + at, True)
        os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()),
                          EE_CONTROL_PORT=ports[0], EE_PROXY_PORT=ports[1])
        os.execv(sys.argv[1], sys.argv[1:])
    print(json.dumps({"pid": child}), flush=True)
    status = os.waitpid(child, 0)[1]
sys.exit(1)
"#;

/// A control plane under a service manager.
struct Managed {
    control: ControlPlane,
    pid: u64,
}

impl Managed {
    fn start(python: &std::path::Path, dir: &std::path::Path) -> Self {
        let server = easyenclave();
        let mut command = Command::new(python);
        for (name, value) in server.get_envs() {
            if value.is_none() {
                command.env_remove(name);
            }
        }
        command
            .args(["-c", SERVICE_MANAGER])
            .arg(server.get_program())
            .args(["dev", "server"])
            .env("EE_DB_PATH", dir.join("control-plane.db"))
            .env("EE_ADMIN_TOKEN", ADMIN_TOKEN);
        let mut manager = Running::start(command);
        let (pid, api, proxy) = next_process(&mut manager);
        let control = ControlPlane {
            process: manager,
            api,
            proxy,
        };
        Self { control, pid }
    }

    /// `systemctl restart`: the next process starts when this one has ended.
    fn restart(&mut self) {
        kill("TERM", self.pid);
        let (pid, api, _) = next_process(&mut self.control.process);
        assert_eq!(api, self.control.api, "the same socket");
        self.pid = pid;
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        // The manager first, or it starts another one.
        self.control.process.signal("KILL");
        self.control.process.wait_for_exit();
        kill("KILL", self.pid);
    }
}

fn next_process(manager: &mut Running) -> (u64, String, String) {
    let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
    let pid = manager.wait_for("process", |line| json(line)?["pid"].as_u64());
    let [api, proxy] = manager.wait_for("line of addresses", |line| {
        let ready = json(line)?;
        let text = |name: &str| ready[name].as_str().map(str::to_owned);
        Some([text("control")?, text("proxy")?])
    });
    (pid, api, proxy)
}

fn kill(signal: &str, pid: u64) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(status.expect("kill is part of every system").success());
}

/// Clients that ask all the time.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

/// Whether a client keeps its connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kept {
    Yes,
    No,
}

impl Load {
    fn start(proxy: &str) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            failed: Arc::default(),
            clients: Vec::new(),
        };
        for kept in [Kept::Yes, Kept::Yes, Kept::Yes, Kept::No, Kept::No] {
            let address = proxy.trim_start_matches("http://").to_owned();
            let (stop, answered) = (Arc::clone(&load.stop), Arc::clone(&load.answered));
            let failed = Arc::clone(&load.failed);
            load.clients.push(thread::spawn(move || {
                let mut connection = None;
                while !stop.load(Ordering::Relaxed) {
                    match ask(&address, kept, &mut connection) {
                        Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => {
                            connection = None;
                            let what = format!("kept {kept:?}: {error}");
                            failed.lock().expect("no panic held it").push(what);
                        }
                    }
                }
            }));
        }
        load
    }

    /// Waits until a hundred more requests have ended, one way or the other.
    fn go_on(&self) {
        let ended = || {
            let failed = self.failed.lock().expect("no panic held it").len();
            self.answered.load(Ordering::Relaxed) + failed
        };
        let before = ended();
        wait_until("a hundred requests", || ended() >= before + 100);
    }

    /// What went wrong.
    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("no panic");
        }
        self.failed.lock().expect("no panic held it").clone()
    }
}

/// One request; a connection is used until an answer says that it ends.
fn ask(
    address: &str,
    kept: Kept,
    connection: &mut Option<BufReader<TcpStream>>,
) -> Result<(), String> {
    let mut io = match connection.take() {
        Some(io) => io,
        None => {
            let socket =
                TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
            socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
            socket.set_nodelay(true).expect("a socket");
            BufReader::new(socket)
        }
    };
    let close = match kept {
        Kept::Yes => "",
        Kept::No => "connection: close\r\n",
    };
    let request = format!("GET /load HTTP/1.1\r\nhost: hello.localhost\r\n{close}\r\n");
    let sent = io.get_mut().write_all(request.as_bytes());
    sent.map_err(|error| format!("write: {error}"))?;
    let (mut length, mut ends, mut status) = (0, false, String::new());
    loop {
        let mut line = String::new();
        let read = io
            .read_line(&mut line)
            .map_err(|error| format!("read: {error}"))?;
        if read == 0 {
            return Err("closed without an answer".to_owned());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().expect("a number"),
            Some(("connection", value)) => ends = value == "close",
            Some(_) => {}
            None => status = line,
        }
    }
    let mut body = vec![0; length];
    io.read_exact(&mut body)
        .map_err(|error| format!("body: {error}"))?;
    if !status.starts_with("http/1.1 200") {
        return Err(format!("{status} {}", String::from_utf8_lossy(&body)));
    }
    if !ends {
        *connection = Some(io);
    }
    Ok(())
}

#[test]
fn a_rolling_restart_under_load_fails_no_request() {
    let Some(python) = installed("python3") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let (_backend, backend) = start_backend();
    let mut managed = Managed::start(&python, dir.path());
    let settings = [("EE_TUNNELS", "2")];
    let start = |control: &ControlPlane, id| start_agent(control, id, &backend, &settings);
    let mut agents = ["one", "two"].map(|id| (id, start(&managed.control, id)));
    managed.control.wait_until_eligible("hello", 2);

    let load = Load::start(&managed.control.proxy);
    load.go_on();
    managed.restart();
    load.go_on();
    managed.control.wait_until_eligible("hello", 2);
    for (id, agent) in &mut agents {
        agent.signal("TERM");
        assert_eq!(agent.wait_for_exit(), Some(0), "{id}");
        *agent = start(&managed.control, id);
        managed.control.wait_until_eligible("hello", 2);
        load.go_on();
    }
    assert_eq!(load.end(), Vec::<String>::new());
    let said = managed.control.process.output();
    assert!(said.contains("stopped"), "the end is logged");
}
