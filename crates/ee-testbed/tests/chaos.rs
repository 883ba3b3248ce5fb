//! The chaos link: every fault does what its name says, to the byte where it names bytes.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers panic as its body does"
)]

use std::{io, time::Duration};

use ee_testbed::{
    ChaosLink,
    chaos::{Direction, LinkFault},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

/// Long enough for loopback, short enough for a test.
const A_WHILE: Duration = Duration::from_millis(50);

#[tokio::test]
async fn faultless_link_relays_both_ways_and_half_closes() {
    let (_link, mut client, mut server) = connected(LinkFault::None).await;
    client.write_all(b"ping").await.unwrap();
    client.shutdown().await.unwrap();
    let mut text = String::new();
    server.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "ping");
    server.write_all(b"pong").await.unwrap();
    drop(server);
    text.clear();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "pong");
}

#[tokio::test]
async fn cut_is_exact_in_both_directions() {
    for cut in [0, 1, 7, 40_000] {
        for direction in [Direction::Up, Direction::Down] {
            let fault = LinkFault::CutAfter {
                direction,
                bytes: cut,
            };
            let end = LinkFault::EndAfter {
                direction,
                bytes: cut,
            };
            for (fault, expected) in [
                (fault, io::ErrorKind::ConnectionReset),
                (end, io::ErrorKind::UnexpectedEof),
            ] {
                let (link, client, server) = connected(fault).await;
                let (mut from, mut to) = match direction {
                    Direction::Up => (client, server),
                    Direction::Down => (server, client),
                };
                let _ = from.write_all(&[1; 50_000]).await;
                let (count, end) = drained(&mut to).await;
                assert_eq!((count as u64, end), (cut, expected), "{fault:?}");
                assert_eq!(link.passed(direction), cut);
            }
        }
    }
}

/// Much is under way at once, and nothing overtakes.
#[tokio::test(start_paused = true)]
async fn late_bytes_come_in_order_and_not_one_by_one() {
    for (fault, least, most) in [
        (LinkFault::Delay(A_WHILE), A_WHILE, A_WHILE),
        (
            LinkFault::Jitter {
                least: A_WHILE,
                most: 4 * A_WHILE,
            },
            A_WHILE,
            4 * A_WHILE,
        ),
    ] {
        let (_link, mut client, mut server) = connected(fault).await;
        let began = Instant::now();
        let sent: Vec<u8> = (0..200_000)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        let writing = async {
            for chunk in sent.chunks(10_000) {
                client.write_all(chunk).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let mut came = vec![0; sent.len()];
        let reading = async {
            server.read_exact(&mut came).await.unwrap();
        };
        tokio::join!(writing, reading);
        assert!(came == sent, "{fault:?}: the bytes differ");
        let took = began.elapsed();
        // A timer's grain of a millisecond on top.
        let in_time = least..=most + Duration::from_millis(2);
        assert!(in_time.contains(&took), "{fault:?}: {took:?}");
    }
}

#[tokio::test]
async fn blackhole_holds_bytes_until_it_is_gone() {
    let (link, mut client, mut server) = connected(LinkFault::Blackhole).await;
    client.write_all(b"held").await.unwrap();
    let mut bytes = [0; 4];
    assert!(
        timeout(A_WHILE, server.read_exact(&mut bytes))
            .await
            .is_err()
    );
    link.set(LinkFault::None);
    server.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"held");
}

#[tokio::test]
async fn half_open_link_works_one_way() {
    let (_link, mut client, mut server) = connected(LinkFault::HalfOpen(Direction::Up)).await;
    let mut byte = [0];
    server.write_all(b"d").await.unwrap();
    client.read_exact(&mut byte).await.unwrap();
    client.write_all(b"u").await.unwrap();
    assert!(
        timeout(A_WHILE, server.read_exact(&mut byte))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn reset_ends_open_and_new_connections() {
    let (link, mut client, _server) = connected(LinkFault::None).await;
    assert_eq!(link.connections(), 1);
    link.set(LinkFault::Reset);
    assert_eq!(
        drained(&mut client).await,
        (0, io::ErrorKind::ConnectionReset)
    );
    let mut late = TcpStream::connect(link.addr()).await.unwrap();
    assert_eq!(
        drained(&mut late).await,
        (0, io::ErrorKind::ConnectionReset)
    );
}

#[tokio::test]
async fn delay_and_rate_slow_down_without_loss() {
    for fault in [
        LinkFault::Delay(A_WHILE),
        LinkFault::Rate {
            bytes_per_s: 20_000,
        },
    ] {
        let (_link, mut client, mut server) = connected(fault).await;
        client.write_all(&[7; 1_000]).await.unwrap();
        let mut bytes = vec![0; 1_000];
        let early = timeout(A_WHILE / 2, server.read_exact(&mut bytes)).await;
        assert!(early.is_err(), "{fault:?}");
    }
    let (_link, mut client, mut server) = connected(LinkFault::Rate {
        bytes_per_s: 1 << 20,
    })
    .await;
    client.write_all(&[7; 30_000]).await.unwrap();
    drop(client);
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, vec![7; 30_000]);
}

async fn connected(fault: LinkFault) -> (ChaosLink, TcpStream, TcpStream) {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = ChaosLink::start(target.local_addr().unwrap())
        .await
        .unwrap();
    link.set(fault);
    let client = TcpStream::connect(link.addr()).await.unwrap();
    let (server, _) = target.accept().await.unwrap();
    (link, client, server)
}

/// Bytes until the connection breaks off, and how it does.
async fn drained(stream: &mut TcpStream) -> (usize, io::ErrorKind) {
    let mut buffer = [0; 4096];
    let mut count = 0;
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return (count, io::ErrorKind::UnexpectedEof),
            Ok(read) => count += read,
            Err(error) => return (count, error.kind()),
        }
    }
}
