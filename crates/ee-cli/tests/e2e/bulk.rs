//! Bodies far larger than any memory may become: server and agent stay as small as they were.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    thread,
};

use crate::{
    rig::{field, network, read_head},
    support::Running,
};

/// More than two processes could hide in buffers.
const BYTES: u64 = 1 << 30;
/// Windows of a stream at each hop, sockets' buffers beside them, and what an allocator keeps.
const GROWTH_MAX_KIB: u64 = 24 * 1024;
const PIECE: usize = 1 << 18;

/// The most resident memory that a process has had, in KiB.
fn peak_kib(process: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("running");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.expect("Linux").trim().trim_end_matches(" kB");
    peak.parse().expect("a number")
}

fn upload(mut client: TcpStream) {
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: {BYTES}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).expect("open");
    let piece = vec![b'u'; PIECE];
    for _ in 0..BYTES / PIECE as u64 {
        client.write_all(&piece).expect("open");
    }
    let head = read_head(&client).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = field(&head, "content-length")
        .expect("a length")
        .parse()
        .expect("a number");
    let mut body = vec![0; length];
    client.read_exact(&mut body).expect("the answer");
    let body = String::from_utf8(body).expect("text");
    assert!(body.contains(&format!("\"bytes\":{BYTES}")), "{body}");
}

fn download(mut client: TcpStream) {
    let head = format!("GET /bytes/{BYTES} HTTP/1.1\r\nHost: hello.localhost\r\n\r\n");
    client.write_all(head.as_bytes()).expect("open");
    let head = read_head(&client).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut piece = vec![0; PIECE];
    let mut left = BYTES;
    while left > 0 {
        let most = usize::try_from(left.min(PIECE as u64)).expect("a piece");
        let count = client.read(&mut piece[..most]).expect("open");
        assert!(count > 0, "{left} bytes are missing");
        left -= count as u64;
    }
}

#[test]
fn a_gib_each_way_takes_no_memory() {
    let network = network();
    let processes = [&network.control.process, network.agent()];
    let before = processes.map(peak_kib);
    let (up, down) = (network.dial(), network.dial());
    // Both at once, on one tunnel.
    thread::scope(|scope| {
        scope.spawn(|| upload(up));
        scope.spawn(|| download(down));
    });
    for (process, before) in processes.into_iter().zip(before) {
        let grown = peak_kib(process) - before;
        assert!(
            grown < GROWTH_MAX_KIB,
            "process {}: {grown} KiB more",
            process.pid()
        );
    }
}
