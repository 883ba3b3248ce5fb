//! Listening sockets that outlive the control plane, handed to it as systemd does.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

use crate::process::Process;
use crate::setup::{self, Ports};

/// Connections that wait for the next process.
const BACKLOG: i32 = 4096;

/// Gives the inherited sockets the numbers 3 and 4 and itself to the program.
const HAND_OVER: &str = "exec 3<&$1 4<&$2; shift 2; \
                         exec env LISTEN_FDS=2 LISTEN_PID=$$ \"$@\"";

/// The sockets of the API and of the apps.
pub struct Sockets {
    control: Socket,
    proxy: Socket,
    ports: Ports,
}

impl Sockets {
    pub fn bind() -> Result<Self> {
        let (control, proxy) = (listen()?, listen()?);
        let ports = Ports {
            control: address(&control)?,
            proxy: address(&proxy)?,
        };
        Ok(Self {
            control,
            proxy,
            ports,
        })
    }

    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Starts a control plane on these sockets. It serves what waits in their queues as soon as it
    /// can.
    pub fn server(&self, program: &Path, name: &str, folder: &Path) -> Result<Process> {
        let numbers = [&self.control, &self.proxy].map(|socket| socket.as_raw_fd().to_string());
        let mut command = Command::new("bash");
        command.env_clear().args(["-c", HAND_OVER, "hand-over"]);
        command.args(numbers).arg(program);
        setup::settle(&mut command, &self.ports, folder)?;
        let inherit = |yes: bool| -> Result<()> {
            self.control.set_cloexec(!yes)?;
            self.proxy.set_cloexec(!yes)?;
            Ok(())
        };
        inherit(true)?;
        let log = folder.join(format!("{name}.log"));
        let server = Process::start(name, &mut command, &log);
        inherit(false)?;
        server
    }
}

fn listen() -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).context("a socket")?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).context("a free port")?;
    socket.listen(BACKLOG).context("listening")?;
    Ok(socket)
}

fn address(socket: &Socket) -> Result<SocketAddr> {
    let address = socket.local_addr().context("the address of a socket")?;
    address.as_socket().context("an IP address")
}
