//! What an app says before a request is whole, and before its answer: it asks for a body or refuses
//! one, and it hints.

use std::{
    io::{Read, Write},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
};

use crate::{
    http::ask,
    rig::{field, network, network_of, raw_backend, read_head},
    support::{PATIENCE, curl},
};

const EXPECTS: &str = "Expect: 100-continue\r\nContent-Length: 4\r\n";

/// Lets a backend go on, step by step.
fn gate() -> (Sender<()>, Arc<Mutex<Receiver<()>>>) {
    let (go, gate) = mpsc::channel();
    (go, Arc::new(Mutex::new(gate)))
}

fn wait(gate: &Mutex<Receiver<()>>) {
    let gate = gate.lock().expect("one at a time");
    gate.recv_timeout(PATIENCE).expect("the test goes on");
}

#[test]
fn the_app_asks_for_a_body_that_waits() {
    let (report, reports) = mpsc::channel();
    let backend = raw_backend(move |mut socket, head| {
        let quiet = std::time::Duration::from_millis(300);
        socket.set_read_timeout(Some(quiet)).expect("a socket");
        let early = socket.read(&mut [0]).is_ok();
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .expect("open");
        let mut body = [0; 4];
        socket.read_exact(&mut body).expect("the body");
        report.send((head, early, body)).expect("a listener");
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .expect("open");
    });
    let network = network_of(&backend);
    // A client that does not wait is kept from the app all the same.
    for waits in [true, false] {
        let mut client = network.dial();
        let head = format!("POST / HTTP/1.1\r\nHost: hello.localhost\r\n{EXPECTS}\r\n");
        let early = if waits { "" } else { "ping" };
        client.write_all((head + early).as_bytes()).expect("open");
        let head = read_head(&client).expect("100");
        assert_eq!(head, "HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(&b"ping"[early.len()..]).expect("open");
        let head = read_head(&client).expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let (head, early, body) = reports.recv_timeout(PATIENCE).expect("a report");
        assert_eq!(field(&head, "expect"), Some("100-continue"), "{head}");
        assert!(!early, "no byte of the body comes before it is asked for");
        assert_eq!(&body, b"ping");
    }
}

#[test]
fn a_body_that_the_app_refuses_is_never_sent() {
    let backend = raw_backend(|mut socket, _| {
        let answer = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno";
        socket.write_all(answer.as_bytes()).expect("open");
        // Nothing may follow the head of the request.
        let mut rest = Vec::new();
        let _reset = socket.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
    });
    let network = network_of(&backend);
    let mut client = network.dial();
    let head = ask(&mut client, "POST", "/", EXPECTS);
    assert!(head.starts_with("HTTP/1.1 417 "), "{head}");
    assert_eq!(field(&head, "connection"), Some("close"), "{head}");
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("the end");
    assert_eq!(rest, "no");
}

#[test]
fn an_app_that_never_asks_gets_the_body_after_a_while() {
    let backend = raw_backend(|mut socket, _| {
        let mut body = [0; 4];
        socket.read_exact(&mut body).expect("the body");
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
        socket.write_all(answer).expect("open");
        socket.write_all(&body).expect("open");
    });
    let network = network_of(&backend);
    let mut client = network.dial();
    let head = ask(&mut client, "POST", "/", EXPECTS);
    assert!(head.starts_with("HTTP/1.1 100 "), "{head}");
    client.write_all(b"ping").expect("open");
    let head = read_head(&client).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let url = network.control.app_url("hello", "/");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let expects = ["-H", "Expect: 100-continue", "-d", "ping", version, &url];
        let answer = curl(&expects);
        assert_eq!((answer.status, &*answer.body), (200, "ping"), "{version}");
    }
}

/// 103 goes on to who follows a link, piece by piece, in order; to nobody else.
#[test]
fn early_hints_reach_who_navigates() {
    let (go, waits) = gate();
    let backend = raw_backend(move |mut socket, _| {
        for sheet in ["a", "b"] {
            let hints = format!(
                "HTTP/1.1 103 Early Hints\r\nLink: </{sheet}.css>; rel=preload\r\n\
                 X-EE-Node: rogue\r\n\r\n"
            );
            socket.write_all(hints.as_bytes()).expect("open");
            wait(&waits);
        }
        // The last comes together with the answer.
        let answer = "HTTP/1.1 103 Early Hints\r\nLink: </c.css>\r\n\r\n\
            HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        socket.write_all(answer.as_bytes()).expect("open");
    });
    let network = network_of(&backend);
    let mut client = network.dial();
    let ends = |client: &mut std::net::TcpStream, head: &str| {
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(field(head, "link"), None, "{head}");
        let mut body = [0; 2];
        client.read_exact(&mut body).expect("the body");
        assert_eq!(&body, b"ok");
    };
    // Twice on one connection: what is between answers must not shift them.
    for _ in 0..2 {
        let mut head = ask(&mut client, "GET", "/", "Sec-Fetch-Mode: navigate\r\n");
        for sheet in ["a", "b", "c"] {
            let link = head.strip_prefix("HTTP/1.1 103 Early Hints\r\nlink: </");
            assert!(link.is_some_and(|link| link.starts_with(sheet)), "{head}");
            assert_eq!(field(&head, "x-ee-node"), None, "{head}");
            if sheet != "c" {
                go.send(()).expect("the backend waits");
            }
            head = read_head(&client).expect("more");
        }
        ends(&mut client, &head);
    }
    go.send(()).expect("the backend waits");
    go.send(()).expect("the backend waits");
    let head = ask(&mut client, "GET", "/", "");
    ends(&mut client, &head);
}

/// An app may answer before a body has come. The client hears it, and nobody else is disturbed.
#[test]
fn an_early_answer_to_an_upload_is_heard() {
    let backend = raw_backend(|mut socket, head| {
        let answer = match head.starts_with("POST") {
            true => "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig",
            false => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes",
        };
        socket.write_all(answer.as_bytes()).expect("open");
        let mut rest = Vec::new();
        let _reset = socket.read_to_end(&mut rest);
    });
    let network = network_of(&backend);
    for (length, part) in [(1 << 30, 10), (1 << 30, 1 << 20)] {
        let mut client = network.dial();
        let fields = format!("Content-Length: {length}\r\n");
        let head = format!("POST / HTTP/1.1\r\nHost: hello.localhost\r\n{fields}\r\n");
        client.write_all(head.as_bytes()).expect("open");
        // It may be closed meanwhile.
        let _refused = client.write_all(&vec![b'x'; part]);
        let head = read_head(&client).expect("an answer before the body has ended");
        assert!(head.starts_with("HTTP/1.1 413 "), "{length}: {head}");
        assert_eq!(field(&head, "x-ee-origin"), Some("app"), "{head}");
        let mut body = [0; 3];
        client.read_exact(&mut body).expect("all of it");
        assert_eq!(&body, b"big");
        let other = curl(&[&network.control.app_url("hello", "/")]);
        assert_eq!(
            (other.status, &*other.body),
            (200, "yes"),
            "the next is served"
        );
    }
}

/// The answer runs while its request still does.
#[test]
fn echo_runs_both_ways_at_once() {
    let network = network();
    let mut client = network.dial();
    let head = ask(
        &mut client,
        "POST",
        "/echo",
        "Transfer-Encoding: chunked\r\n",
    );
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for _ in 0..5 {
        client.write_all(b"4\r\nping\r\n").expect("open");
        let mut back = [0; 9];
        client.read_exact(&mut back).expect("the echo");
        assert_eq!(&back, b"4\r\nping\r\n");
    }
    client.write_all(b"0\r\n\r\n").expect("open");
    let mut end = [0; 5];
    client.read_exact(&mut end).expect("the end");
    assert_eq!(&end, b"0\r\n\r\n");
}
