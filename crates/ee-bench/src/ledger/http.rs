//! The way users take: HTTP/1.1 over kept connections, a token, JSON, a reply after the commit.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::commands::{account_name, node, register, sides};
use super::load::{BULK, open_accounts, submit, together};
use super::place::Place;
use super::report::{Goal, Report};
use super::samples::Samples;
use super::server::{Server, TOKEN};
use super::{ACCOUNTS, Options, Row};
use crate::load::Answer;
use crate::stopwatch::{Stopwatch, unix_seconds};

/// Closed loops beside each other.
const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// What is asked: a path, and a body for each number.
struct Ask {
    path: &'static str,
    operations: i64,
    /// Whether each request carries an Idempotency-Key, which the books then remember.
    keyed: bool,
    body: Box<dyn Fn(i64) -> String>,
}

/// Transfers, bulks of them, and usage reports against a server process.
pub fn run(place: &Place, options: &Options, length: Duration, report: &mut Report) -> Result<()> {
    let spot = place.fresh()?;
    spot.with_books(async |handle, _| {
        open_accounts(&handle, ACCOUNTS).await?;
        submit(&handle, vec![register()]).await
    })?;
    let server = Server::start(&spot, options.program.as_ref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let number = Cell::new(0);
    let measure = |ask: &Ask, connections| {
        runtime.block_on(load(server.address, ask, connections, length, &number))
    };
    let sqlite = place.is_sqlite();
    let goals = |goals: Vec<Goal>| if sqlite { goals } else { Vec::new() };
    if options.wants(Row::Http) {
        for connections in CONNECTIONS {
            let samples = measure(&transfers(false), connections)?;
            let what = format!(
                "HTTP transfers, {connections} connections, {}",
                place.name()
            );
            report.add(&what, &samples, &goals(transfer_goals(connections)));
        }
        let samples = measure(&transfers(true), 64)?;
        let what = format!("the same with Idempotency-Key, {}", place.name());
        report.add(&what, &samples, &[]);
    }
    if options.wants(Row::Bulk) {
        let samples = measure(&bulks(), 2)?;
        let what = format!("HTTP bulks of {BULK}, 2 connections, {}", place.name());
        report.add(
            &what,
            &samples,
            &goals(vec![Goal::Naive(10.0), Goal::Pgbench(12.0)]),
        );
    }
    if options.wants(Row::Usage) {
        let samples = measure(&usage(), 64)?;
        let what = format!("HTTP usage reports, 64 connections, {}", place.name());
        report.add(&what, &samples, &[]);
    }
    drop(server);
    spot.remove();
    Ok(())
}

fn transfer_goals(connections: usize) -> Vec<Goal> {
    match connections {
        1 => vec![Goal::OverRaw(Duration::from_micros(350))],
        64 => vec![
            Goal::Naive(5.0),
            Goal::Pgbench(7.0),
            Goal::Raw(4.0),
            Goal::P99(Duration::from_millis(10)),
        ],
        _ => Vec::new(),
    }
}

fn transfers(keyed: bool) -> Ask {
    Ask {
        path: "/v1/credits/transfer",
        operations: 1,
        keyed,
        body: Box::new(one),
    }
}

fn one(number: i64) -> String {
    let (debit, credit) = sides(number, ACCOUNTS);
    let (debit, credit) = (account_name(debit), account_name(credit));
    format!(r#"{{"from_account":"{debit}","to_account":"{credit}","amount_usd":"0.000001"}}"#)
}

fn bulks() -> Ask {
    Ask {
        path: "/v1/transfers/batch",
        operations: BULK,
        keyed: true,
        body: Box::new(|number| {
            let items: Vec<String> = (number..number + BULK).map(one).collect();
            format!(r#"{{"transfers":[{}]}}"#, items.join(","))
        }),
    }
}

/// Reports on the hour that runs.
fn usage() -> Ask {
    let hour = unix_seconds() / 3600 * 3600;
    let time = |seconds| ee_protocol::time::Timestamp::from_unix_seconds(seconds).rfc3339_micros();
    let (start, end) = (time(hour), time(hour + 3600));
    Ask {
        path: "/v1/usage/report",
        operations: 1,
        keyed: false,
        body: Box::new(move |number| {
            let (account, node) = (account_name(number.rem_euclid(ACCOUNTS)), node());
            let who = format!(r#""account_id":"{account}","node_id":"{node}""#);
            let when = format!(r#""period_start":"{start}","period_end":"{end}""#);
            format!(r#"{{{who},"vcpu_hours":"0.0001",{when}}}"#)
        }),
    }
}

/// Each connection sends its next request when the answer is complete.
async fn load(
    server: SocketAddr,
    ask: &Ask,
    connections: usize,
    length: Duration,
    number: &Cell<i64>,
) -> Result<Samples> {
    let started = Stopwatch::start();
    let connection = || connection(server, ask, (started, length), number);
    let mut all = Samples::default();
    for one in together((0..connections).map(|_| connection()).collect()).await {
        all.merge(one?);
    }
    all.end(started.elapsed());
    Ok(all)
}

async fn connection(
    server: SocketAddr,
    ask: &Ask,
    (started, length): (Stopwatch, Duration),
    number: &Cell<i64>,
) -> Result<Samples> {
    let mut socket = TcpStream::connect(server).await.context("connect")?;
    socket.set_nodelay(true)?;
    let mut answer = Answer::default();
    let mut samples = Samples::default();
    while started.elapsed() < length {
        let request = request(server, ask, number);
        let sent = Stopwatch::start();
        socket.write_all(request.as_bytes()).await.context("send")?;
        let (accepted, _) = answer.read(&mut socket).await?;
        let operations = usize::try_from(ask.operations)?;
        samples.add_bulk(sent.elapsed(), operations);
        ensure!(accepted, "{} was refused: {request}", ask.path);
    }
    Ok(samples)
}

fn request(server: SocketAddr, ask: &Ask, number: &Cell<i64>) -> String {
    let first = number.get();
    number.set(first + ask.operations);
    let body = (ask.body)(first);
    let key = match ask.keyed {
        true => format!("idempotency-key: bench-{first}\r\n"),
        false => String::new(),
    };
    format!(
        "POST {} HTTP/1.1\r\nhost: {server}\r\nauthorization: Bearer {TOKEN}\r\n{key}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        ask.path,
        body.len()
    )
}
