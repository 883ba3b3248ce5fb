//! One app on one node, for tests of what HTTP does: sockets, and backends made by hand.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    thread,
};

use crate::support::{ControlPlane, PATIENCE, Running, start_agent, start_backend};

/// A control plane, one agent and what it serves; all ends with this.
pub struct Network {
    pub control: ControlPlane,
    processes: Vec<Running>,
    _dir: tempfile::TempDir,
}

/// The demo backend behind one agent.
pub fn network() -> Network {
    let (process, backend) = start_backend();
    let mut network = network_of(&backend);
    network.processes.push(process);
    network
}

/// `backend` behind one agent.
pub fn network_of(backend: &str) -> Network {
    let dir = tempfile::tempdir().expect("a folder");
    let control = ControlPlane::start(dir.path(), &[]);
    let agent = start_agent(&control, "one", backend, &[]);
    control.wait_until_eligible("hello", 1);
    Network {
        control,
        processes: vec![agent],
        _dir: dir,
    }
}

impl Network {
    /// The agent.
    pub fn agent(&self) -> &Running {
        &self.processes[0]
    }

    /// A connection to the proxy listener.
    pub fn dial(&self) -> TcpStream {
        let address = self.control.proxy.trim_start_matches("http://");
        let socket = TcpStream::connect(address).expect("the proxy listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        socket
    }
}

/// Serves each connection with `handler`, which gets it after the head of its request.
pub fn raw_backend(handler: impl Fn(TcpStream, String) + Send + Sync + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let handler = handler.clone();
            thread::spawn(move || {
                // Probes of the backend connect and say nothing.
                if let Some(head) = read_head(&socket) {
                    handler(socket, head);
                }
            });
        }
    });
    url
}

/// Up to the empty line, byte by byte: what follows stays in the socket.
pub fn read_head(mut socket: &TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// The first value of a header field.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
