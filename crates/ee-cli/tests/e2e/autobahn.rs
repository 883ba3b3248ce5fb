//! Autobahn's cases through the WebSocket of an app: client, proxy, tunnel, agent, backend.
//!
//! The echo is a library's, and alone it passes: what fails here fails in between.

use std::{
    io::{self, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use ee_testbed::autobahn::{self, COMPRESSION, Selection};

use crate::{
    rig::{network, read_head},
    support::installed,
};

/// Autobahn names no host but the one it connects to, and that is an address: this changes the
/// `Host` of each handshake to the app's, and nothing else.
fn with_host_of_the_app(proxy: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("ws://{}/ws", listener.local_addr().expect("bound"));
    let proxy = proxy.trim_start_matches("http://").to_owned();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let proxy = proxy.clone();
            thread::spawn(move || relay(&client, &proxy));
        }
    });
    url
}

fn relay(client: &TcpStream, proxy: &str) -> Option<()> {
    let head = read_head(client)?;
    let host = |line: &str| line.to_ascii_lowercase().starts_with("host:");
    let lines = head.split("\r\n");
    let lines = lines.map(|line| {
        if host(line) {
            "Host: hello.localhost"
        } else {
            line
        }
    });
    let head = lines.collect::<Vec<_>>().join("\r\n");
    let mut server = TcpStream::connect(proxy).ok()?;
    for socket in [client, &server] {
        socket.set_nodelay(true).ok()?;
    }
    server.write_all(head.as_bytes()).ok()?;
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &server));
        copy(&server, client);
    });
    Some(())
}

/// One direction; its end is passed on.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn autobahn_finds_nothing_between_client_and_app() {
    if installed("kosoku").is_none() {
        return;
    }
    let tools = autobahn::tools().expect("installed");
    let network = network();
    let url = with_host_of_the_app(&network.control.proxy);
    let reports = tempfile::tempdir().expect("a folder");
    let run = |selection| {
        autobahn::fuzz_server(&tools, reports.path(), &url, selection).expect("a report")
    };
    let verdicts = run(Selection {
        include: &[],
        exclude: &COMPRESSION,
    });
    assert_eq!(verdicts.not_ok(), Vec::<String>::new());
    assert_eq!(verdicts.0.len(), 301);
    // What the app declines, nobody in between accepts in its name.
    let declined = run(Selection {
        include: &["12.1.1", "12.5.1", "13.1.1", "13.7.1"],
        exclude: &[],
    });
    assert_eq!(declined.0.len(), 4);
    for (case, (behavior, close)) in declined.0 {
        assert_eq!((&*behavior, &*close), ("UNIMPLEMENTED", "OK"), "{case}");
    }
}
