//! Asks the server on this machine for `/health`: for containers, which hold no other client.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::config::Settings;

/// `/health` reads memory only; slower is not healthy.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The beginning of a good answer.
const GOOD: &[u8] = b"HTTP/1.1 200";

/// `Ok` if the server answers. Where it serves TLS, an accepted connection has to do: the
/// certificate is for the public name, not for this address.
pub fn check(settings: &Settings) -> Result<(), String> {
    let address = reachable(settings.control_bind);
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(failed)?;
    if settings.tls.is_some() {
        return Ok(());
    }
    stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).map_err(failed)?;
    let mut begin = [0; GOOD.len()];
    stream.read_exact(&mut begin).map_err(failed)?;
    if begin == GOOD {
        Ok(())
    } else {
        Err(format!("{address} answers, but not 200"))
    }
}

/// An address to connect to: "any" becomes loopback.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, bound.port())
}
