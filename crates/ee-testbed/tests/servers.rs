//! The fakes over real sockets, asked by a client of a few lines.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers panic as its body does"
)]

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use ee_testbed::{
    DemoBackend, DemoImage, DigestMode, FakeGithub, GithubMode, MockPcs, PcsMode, QuoteServer,
    QuoteVersion, Release, SimOptions, SimPlatform, demo_backend::GREETING,
    fake_github::GithubHost, serve::any_port,
};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Message};

/// 2026-06-01T00:00:00Z.
const NOW: u64 = 1_780_272_000;

#[tokio::test]
async fn pcs_serves_what_a_verifier_needs() {
    let platform = SimPlatform::new(1, SimOptions::default());
    let pcs = MockPcs::start(platform.clone(), || NOW).await.unwrap();
    let collateral = platform.collateral(NOW);

    let fmspc = hex::encode_upper(platform.fmspc());
    let tcb = get(&format!(
        "{}/tdx/certification/v4/tcb?fmspc={fmspc}",
        pcs.url()
    ))
    .await;
    let body = String::from_utf8(tcb.body().to_vec()).unwrap();
    assert!(body.contains(&format!("\"tcbInfo\":{}", collateral.tcb_info)));
    let chain = tcb.headers()["TCB-Info-Issuer-Chain"].to_str().unwrap();
    let chain = percent_encoding::percent_decode_str(chain)
        .decode_utf8()
        .unwrap();
    assert_eq!(chain, collateral.tcb_info_issuer_chain);

    let identity = get(&format!("{}/tdx/certification/v4/qe/identity", pcs.url())).await;
    assert!(
        identity
            .headers()
            .contains_key("SGX-Enclave-Identity-Issuer-Chain")
    );
    let crl = format!(
        "{}/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
        pcs.url()
    );
    let crl = get(&crl).await;
    assert_eq!(crl.body(), &collateral.pck_crl);
    assert!(crl.headers().contains_key("SGX-PCK-CRL-Issuer-Chain"));
    let root = get(&format!("{}/sgx/certification/v4/rootcacrl", pcs.url())).await;
    assert_eq!(hex::decode(root.body()).unwrap(), collateral.root_ca_crl);
    let root = get(&format!("{}/IntelSGXRootCA.der", pcs.url())).await;
    assert_eq!(root.body(), &collateral.root_ca_crl);
    assert_eq!(pcs.requests().len(), 5);
}

#[tokio::test]
async fn pcs_knows_its_fmspc_and_ca_only() {
    let platform = SimPlatform::new(1, SimOptions::default());
    let pcs = MockPcs::start(platform, || NOW).await.unwrap();
    for path in [
        "tdx/certification/v4/tcb?fmspc=000000000000",
        "sgx/certification/v4/pckcrl?ca=processor",
    ] {
        let answer = get(&format!("{}/{path}", pcs.url())).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn pcs_misbehaves_on_demand() {
    let pcs = MockPcs::start(SimPlatform::new(1, SimOptions::default()), || NOW)
        .await
        .unwrap();
    let url = format!("{}/tdx/certification/v4/qe/identity", pcs.url());
    let good = get(&url).await;
    pcs.set_mode(PcsMode::Outage);
    assert_eq!(get(&url).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    pcs.set_mode(PcsMode::Rollback);
    assert!(text(&get(&url).await).contains("\"tcbEvaluationDataNumber\":16"));
    pcs.set_mode(PcsMode::Stale {
        since: NOW - 86_400,
    });
    assert!(text(&get(&url).await).contains("\"issueDate\":\"2026-05-30T00:00:00Z\""));
    pcs.set_mode(PcsMode::Garbage);
    assert!(text(&get(&url).await).contains("Welcome"));
    pcs.set_mode(PcsMode::BadSignature);
    let spoilt = get(&url).await;
    assert_ne!(spoilt.body(), good.body());
    assert_eq!(spoilt.body().len(), good.body().len());
    pcs.set_mode(PcsMode::Slow(Duration::from_millis(1)));
    assert_eq!(get(&url).await.body(), good.body());
}

#[tokio::test]
async fn github_serves_releases_with_validators_and_digests() {
    let github = FakeGithub::start().await.unwrap();
    github.publish(Release::new("Org/repo", "v1/rc", "list.json", "content"));
    let url = format!("{}/repos/org/REPO/releases/tags/v1%2Frc", github.api_url());
    let release = get(&url).await;
    let body = json_of(&release);
    assert_eq!(
        (&body["tag_name"], &body["immutable"]),
        (&json!("v1/rc"), &json!(false))
    );
    let asset = &body["assets"][0];
    assert_eq!(
        (&asset["name"], &asset["size"]),
        (&json!("list.json"), &json!(7))
    );
    assert!(
        asset["digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:ed7002b4")
    );

    let etag = release.headers()["etag"].to_str().unwrap();
    let unchanged = ask(&url, &[("if-none-match", etag)]).await;
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    github.swap("Org/repo", "v1/rc", "swapped");
    assert_eq!(
        ask(&url, &[("if-none-match", etag)]).await.status(),
        StatusCode::OK
    );
    assert_eq!(
        get(&format!("{url}x")).await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn github_sends_assets_here_or_elsewhere() {
    let github = FakeGithub::start().await.unwrap();
    github.publish(Release::new("org/repo", "v1", "list.json", "content"));
    let release = get(&format!(
        "{}/repos/org/repo/releases/tags/v1",
        github.api_url()
    ))
    .await;
    let url = json_of(&release)["assets"][0]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let octets = [
        ("accept", "application/octet-stream"),
        ("authorization", "Bearer t"),
    ];
    assert_eq!(text(&ask(&url, &octets).await), "content");
    assert_eq!(json_of(&get(&url).await)["name"], "list.json");

    github.set_mode(GithubMode::RedirectAssets);
    let redirect = ask(&url, &octets).await;
    assert_eq!(redirect.status(), StatusCode::FOUND);
    let elsewhere = redirect.headers()["location"].to_str().unwrap();
    assert!(elsewhere.starts_with(&github.asset_url()));
    assert_eq!(text(&get(elsewhere).await), "content");
    let seen = github.requests();
    let last = seen.last().unwrap();
    assert_eq!(
        (last.host, &last.authorization),
        (GithubHost::Assets, &None)
    );
    assert_eq!(
        seen[seen.len() - 2].authorization.as_deref(),
        Some("Bearer t")
    );
}

#[tokio::test]
async fn github_misbehaves_on_demand() {
    let github = FakeGithub::start().await.unwrap();
    let mut release = Release::new("org/repo", "v1", "list.json", "content");
    (release.digest, release.declared_size) = (DigestMode::Missing, Some(1));
    github.publish(release);
    let url = format!("{}/repos/org/repo/releases/tags/v1", github.api_url());
    let asset = json_of(&get(&url).await)["assets"][0].clone();
    assert_eq!(
        (&asset["digest"], &asset["size"]),
        (&Value::Null, &json!(1))
    );
    github.set_mode(GithubMode::ServerError(502));
    assert_eq!(get(&url).await.status(), StatusCode::BAD_GATEWAY);
    github.set_mode(GithubMode::RateLimited { reset: 77 });
    let limited = get(&url).await;
    assert_eq!(
        (
            limited.status(),
            limited.headers()["x-ratelimit-reset"].as_bytes()
        ),
        (StatusCode::FORBIDDEN, &b"77"[..])
    );
    github.set_mode(GithubMode::Moved);
    assert_eq!(get(&url).await.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn quoting_service_answers_as_attest_response_takes_it() {
    let platform = SimPlatform::new(1, SimOptions::default());
    let image = DemoImage::new(1);
    let server = QuoteServer::start(any_port(), platform.clone(), &image, QuoteVersion::V4)
        .await
        .unwrap();
    let report_data = "ab".repeat(64);
    let url = format!("{}/quote", server.url());
    let answer = json_of(&post(&url, &json!({ "report_data": report_data }).to_string()).await);
    assert_eq!(answer["report_data"], report_data);
    assert_eq!(answer["measurements"]["sealed"], true);
    assert_eq!(answer["event_log"], image.event_log());
    let quote = platform.quote(&image.td(), QuoteVersion::V4, &[0xab; 64]);
    assert_eq!(answer["quote"], base64(&quote));
    for body in ["", "{}", "{\"report_data\":\"ab\"}", &"x".repeat(5000)] {
        assert!(post(&url, body).await.status().is_client_error(), "{body}");
    }
    assert_eq!(get(&url).await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn backend_speaks() {
    let backend = DemoBackend::start(any_port()).await.unwrap();
    let url = backend.url();
    assert_eq!(text(&get(&url).await), GREETING);
    assert_eq!(
        text(&post(&format!("{url}/echo"), "there and back").await),
        "there and back"
    );
    let upload = json_of(&post(&format!("{url}/upload"), "12345").await);
    assert_eq!(upload["bytes"], 5);
    for count in [0, 100, 65_536, 65_537, 1 << 20] {
        let answer = get(&format!("{url}/bytes/{count}")).await;
        assert_eq!(answer.body().len(), count);
        assert_eq!(
            answer.headers()["content-length"],
            count.to_string().as_str()
        );
    }
    assert_eq!(
        get(&format!("{url}/status/418")).await.status().as_u16(),
        418
    );
    assert_eq!(text(&get(&format!("{url}/slow/1")).await), "slow\n");
    let head = json_of(&ask(&format!("{url}/headers?q=1"), &[("x-test", "y")]).await);
    assert_eq!(head["target"], "/headers?q=1");
    assert!(
        head["headers"]
            .as_array()
            .unwrap()
            .contains(&json!(["x-test", "y"]))
    );
    let events = text(&get(&format!("{url}/sse?n=3&ms=1")).await);
    assert_eq!(events, "data: tick 1\n\ndata: tick 2\n\ndata: tick 3\n\n");
}

#[tokio::test]
async fn backend_health_is_a_switch_and_abort_breaks_off() {
    let backend = DemoBackend::start(any_port()).await.unwrap();
    let health = format!("{}/health", backend.url());
    assert_eq!(get(&health).await.status(), StatusCode::OK);
    backend.set_healthy(false);
    assert_eq!(get(&health).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(backend.requests(), 0);
    let broken = send(&format!("{}/abort", backend.url()), &[], None).await;
    assert!(broken.is_err());
}

#[tokio::test]
async fn backend_echoes_websocket_messages() {
    let backend = DemoBackend::start(any_port()).await.unwrap();
    let uri = format!("ws://{}/ws", backend.addr());
    let builder = ClientBuilder::new().uri(&uri).unwrap();
    let (mut socket, _) = builder.connect().await.unwrap();
    for message in [Message::text("words"), Message::binary(vec![0; 70_000])] {
        socket.send(message.clone()).await.unwrap();
        let echo = socket.next().await.unwrap().unwrap();
        assert_eq!(echo.as_payload()[..], message.as_payload()[..]);
    }
    let plain = get(&format!("{}/ws", backend.url())).await;
    assert_eq!(plain.status(), StatusCode::UPGRADE_REQUIRED);
}

#[tokio::test]
async fn backend_speaks_http2_with_prior_knowledge() {
    let backend = DemoBackend::start(any_port()).await.unwrap();
    let socket = TcpStream::connect(backend.addr()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .unwrap();
    let uri = format!("{}/headers", backend.url());
    let request = Request::builder()
        .uri(uri)
        .body(Full::new(Bytes::new()))
        .unwrap();
    let exchange = async move {
        sender
            .send_request(request)
            .await
            .unwrap()
            .into_body()
            .collect()
            .await
    };
    let (body, _) = tokio::join!(exchange, connection);
    let head: Value = serde_json::from_slice(&body.unwrap().to_bytes()).unwrap();
    assert_eq!(head["version"], "HTTP/2.0");
}

#[tokio::test]
async fn unsized_asset_comes_in_chunks_and_loops_are_endless() {
    let github = FakeGithub::start().await.unwrap();
    let mut release = Release::new("org/repo", "v1", "list.json", vec![b'x'; 300_000]);
    (release.sized, release.declared_size) = (false, Some(10));
    github.publish(release);
    let url = format!("{}/repos/org/repo/releases/assets/0", github.api_url());
    let asset = ask(&url, &[("accept", "application/octet-stream")]).await;
    assert_eq!(asset.headers().get("content-length"), None);
    assert_eq!(asset.body().len(), 300_000);
    let around = get(&format!("{}/loop", github.asset_url())).await;
    assert_eq!(
        around.headers()["location"],
        format!("{}/loop", github.asset_url()).as_str()
    );
}

#[tokio::test]
async fn dropped_server_listens_no_more() {
    let backend = DemoBackend::start(any_port()).await.unwrap();
    let addr = backend.addr();
    assert!(TcpStream::connect(addr).await.is_ok());
    drop(backend);
    // The aborted task is dropped by the runtime at its next turn.
    for _ in 0..100 {
        if TcpStream::connect(addr).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("still listening");
}

type Sent = Result<Response<Bytes>, hyper::Error>;

async fn get(url: &str) -> Response<Bytes> {
    ask(url, &[]).await
}

async fn ask(url: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
    send(url, headers, None).await.unwrap()
}

async fn post(url: &str, body: &str) -> Response<Bytes> {
    send(url, &[], Some(body)).await.unwrap()
}

async fn send(url: &str, headers: &[(&str, &str)], body: Option<&str>) -> Sent {
    let uri: http::Uri = url.parse().unwrap();
    let addr: SocketAddr = uri.authority().unwrap().as_str().parse().unwrap();
    let socket = TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .unwrap();
    let method = if body.is_some() { "POST" } else { "GET" };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", addr.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from(body.unwrap_or_default().to_owned()));
    let exchange = async move {
        let (head, body) = sender
            .send_request(request.body(body).unwrap())
            .await?
            .into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    };
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}

fn text(answer: &Response<Bytes>) -> String {
    String::from_utf8(answer.body().to_vec()).unwrap()
}

fn json_of(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}
