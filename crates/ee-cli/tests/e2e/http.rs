//! What HTTP/1.1 does, byte by byte: a backend and a client made of sockets.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, mpsc},
};

use crate::{
    rig::{field, network_of, raw_backend, read_head},
    support::{PATIENCE, curl},
};

pub fn ask(client: &mut TcpStream, method: &str, path: &str, rest: &str) -> String {
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
fn answers_without_a_body_are_exact() {
    let backend = raw_backend(|mut socket, head| {
        let answer = match head.split(' ').take(2).collect::<Vec<_>>()[..] {
            ["HEAD", "/"] => "200 OK\r\nContent-Length: 1234\r\nETag: \"a\"",
            [_, "/204"] => "204 No Content\r\nContent-Length: 0\r\nETag: \"a\"",
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
        ("HEAD", "/204", "204", None),
        // A 304 names the length that a 200 would have.
        ("GET", "/304", "304", Some("99")),
        ("HEAD", "/304", "304", Some("99")),
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
    for (path, status, length) in [("/204", 204, None), ("/304", 304, Some("99"))] {
        let url = network.control.app_url("hello", path);
        let answer = curl(&["--http2-prior-knowledge", &url]);
        assert_eq!(
            (answer.status, answer.header("content-length")),
            (status, length),
            "{answer:?}"
        );
        let head = curl(&["--http2-prior-knowledge", "-I", &url]);
        assert_eq!(
            (head.status, head.header("content-length")),
            (status, length)
        );
    }
    let url = network.control.app_url("hello", "/");
    let head = curl(&["--http2-prior-knowledge", "-I", &url]);
    assert_eq!(head.header("content-length"), Some("1234"), "{head:?}");
}

/// HTTP/1.1 announces its trailers; those that only a head may say are left out of both.
#[test]
fn trailers_pass_in_both_directions() {
    let (report, reports) = mpsc::channel();
    let backend = raw_backend(move |mut socket, head| {
        let mut body = Vec::new();
        while !body.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("the body");
            body.push(byte[0]);
        }
        let body = String::from_utf8(body).expect("text");
        report.send((head, body)).expect("a listener");
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Set-Cookie\
            \r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=1\r\n\r\n";
        socket.write_all(answer.as_bytes()).expect("open");
    });
    let network = network_of(&backend);
    let mut client = network.dial();
    let fields = "Transfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n\
        Trailer: X-Up, Host\r\n";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: hello.localhost\r\n{fields}\r\n2\r\nup\r\n0\r\nX-Up: 3\r\n\
         Host: evil\r\n\r\n"
    );
    client.write_all(request.as_bytes()).expect("open");
    let head = read_head(&client).expect("an answer");
    assert_eq!(field(&head, "trailer"), Some("x-sum"), "{head}");
    let mut rest = [0; 22];
    client.read_exact(&mut rest).expect("body and trailers");
    assert_eq!(&rest, b"2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n");
    let (head, body) = reports.recv_timeout(PATIENCE).expect("what the app saw");
    assert_eq!(field(&head, "trailer"), Some("x-up"), "{head}");
    assert_eq!(field(&head, "te"), Some("trailers"), "{head}");
    assert_eq!(field(&head, "connection"), Some("TE"), "{head}");
    assert!(body.ends_with("0\r\nx-up: 3\r\n\r\n"), "{body}");
    assert!(!body.to_lowercase().contains("host"), "{body}");
}

/// What asks for no path of the app asks the app all the same.
#[test]
fn options_for_the_whole_server_reach_the_app() {
    let backend = raw_backend(|mut socket, head| {
        let line = head.lines().next().unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nX-Line: {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        socket.write_all(answer.as_bytes()).expect("open");
    });
    let network = network_of(&backend);
    let head = ask(&mut network.dial(), "OPTIONS", "*", "");
    assert_eq!(field(&head, "x-line"), Some("OPTIONS * HTTP/1.1"), "{head}");
    let absolute = "http://hello.localhost/a%2F..?b";
    let head = ask(&mut network.dial(), "GET", absolute, "");
    assert_eq!(field(&head, "x-line"), Some("GET /a%2F..?b HTTP/1.1"));
    for (method, target) in [("GET", "*"), ("CONNECT", "hello.localhost:80")] {
        let head = ask(&mut network.dial(), method, target, "");
        assert_eq!(field(&head, "x-ee-origin"), Some("control"), "{head}");
    }
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
