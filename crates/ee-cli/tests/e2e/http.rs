//! What HTTP/1.1 does, byte by byte: a backend and a client made of sockets.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, mpsc},
};

use crate::{
    rig::{field, network, network_of, raw_backend, read_head},
    support::{PATIENCE, curl},
};

fn ask(client: &mut TcpStream, method: &str, path: &str, rest: &str) -> String {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: hello.localhost\r\n{rest}\r\n");
    client.write_all(head.as_bytes()).expect("open");
    read_head(client).expect("an answer")
}

/// One chunk of a chunked body, size line and all.
fn chunk(client: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while text.iter().filter(|&&b| b == b'\n').count() < 2 {
        client.read_exact(&mut byte).expect("a chunk");
        text.push(byte[0]);
    }
    String::from_utf8(text).expect("text")
}

#[test]
fn each_tick_arrives_before_the_next_is_sent() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let backend = raw_backend(move |mut socket, head| {
        let kind = if head.starts_with("GET") {
            "text/event-stream"
        } else {
            "text/plain"
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).expect("open");
        for tick in 0..5 {
            socket
                .write_all(format!("6\r\ntick {tick}\r\n").as_bytes())
                .expect("open");
            // The next one leaves only when the client has read this one.
            gate.lock()
                .expect("one at a time")
                .recv_timeout(PATIENCE)
                .expect("the client read");
        }
        socket.write_all(b"0\r\n\r\n").expect("open");
    });
    let network = network_of(&backend);
    for method in ["GET", "POST", "PUT", "QUERY"] {
        let mut client = network.dial();
        let head = ask(&mut client, method, "/ticks", "Content-Length: 0\r\n");
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
        for tick in 0..5 {
            assert_eq!(
                chunk(&mut client),
                format!("6\r\ntick {tick}\r\n"),
                "{method}"
            );
            go.send(()).expect("the backend waits");
        }
        let mut end = [0; 5];
        client.read_exact(&mut end).expect("the end");
        assert_eq!(&end, b"0\r\n\r\n");
    }
}

#[test]
fn a_client_that_waits_for_100_gets_it() {
    let network = network();
    let mut client = network.dial();
    let fields = "Expect: 100-continue\r\nContent-Length: 4\r\n";
    let head = ask(&mut client, "POST", "/echo", fields);
    assert!(head.starts_with("HTTP/1.1 100 "), "{head}");
    client.write_all(b"ping").expect("open");
    let head = read_head(&client).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let url = network.control.app_url("hello", "/echo");
    let answer = curl(&["-H", "Expect: 100-continue", "-d", "ping", &url]);
    assert_eq!((answer.status, answer.body.as_str()), (200, "ping"));
}

#[test]
fn answers_without_a_body_are_exact() {
    let backend = raw_backend(|mut socket, head| {
        let answer = match head.split(' ').take(2).collect::<Vec<_>>()[..] {
            ["HEAD", _] => "200 OK\r\nContent-Length: 1234\r\nETag: \"a\"",
            [_, "/204"] => "204 No Content\r\nETag: \"a\"",
            [_, "/304"] => "304 Not Modified\r\nContent-Length: 99\r\nETag: \"a\"",
            _ => "200 OK\r\nContent-Length: 0",
        };
        let answer = format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n");
        socket.write_all(answer.as_bytes()).expect("open");
    });
    let network = network_of(&backend);
    // One connection for all: a byte too many or too few would show in the answer after it.
    let mut client = network.dial();
    for (method, path, status, length) in [
        ("HEAD", "/", "200", Some("1234")),
        ("GET", "/204", "204", None),
        // A 304 may name the length that a 200 would have; hyper's server leaves it out.
        ("GET", "/304", "304", None),
        ("GET", "/", "200", Some("0")),
    ] {
        let head = ask(&mut client, method, path, "");
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{method} {path}: {head}"
        );
        assert_eq!(
            field(&head, "content-length"),
            length,
            "{method} {path}: {head}"
        );
        assert_eq!(
            field(&head, "transfer-encoding"),
            None,
            "{method} {path}: {head}"
        );
        assert_eq!(
            field(&head, "etag").is_some(),
            path != "/" || method == "HEAD",
            "{head}"
        );
    }
}

/// The public face cannot send 103 (Early Hints): what an app hints is left out, what it answers
/// comes.
#[test]
fn early_hints_are_left_out_and_the_answer_comes() {
    let backend = raw_backend(|mut socket, _| {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        for part in [hints, hints, answer] {
            socket.write_all(part.as_bytes()).expect("open");
        }
    });
    let network = network_of(&backend);
    let mut client = network.dial();
    let head = ask(&mut client, "GET", "/", "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(field(&head, "link"), None, "{head}");
    let mut body = [0; 2];
    client.read_exact(&mut body).expect("the body");
    assert_eq!(&body, b"ok");
}

#[test]
fn repeated_headers_are_kept_both_ways() {
    let backend = raw_backend(|mut socket, head| {
        let twice: Vec<&str> = head
            .lines()
            .filter(|line| line.to_lowercase().starts_with("x-twice"))
            .collect();
        let seen = twice.join("|");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Twice: 3\r\nX-Twice: 4\r\n\
             X-Seen: {seen}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        socket.write_all(answer.as_bytes()).expect("open");
    });
    let network = network_of(&backend);
    let answer = curl(&[
        "-H",
        "X-Twice: 1",
        "-H",
        "X-Twice: 2",
        &network.control.app_url("hello", "/"),
    ]);
    let values = |name: &str| {
        let fields = answer.headers.iter().filter(|(n, _)| n == name);
        fields.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(values("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(values("x-twice"), ["3", "4"]);
    let seen = answer
        .header("x-seen")
        .expect("what the backend saw")
        .to_lowercase();
    assert_eq!(seen, "x-twice: 1|x-twice: 2");
}
