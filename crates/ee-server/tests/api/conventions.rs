//! Problems, request ids, methods, and what strangers throw at the API.

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::running::{ADMIN, Running, answer};

#[tokio::test]
async fn health_keeps_the_seeds_answer_and_names_the_root() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let (status, body) = answer(running.get("/health").await).await;
    assert_eq!((status, body["status"].as_str()), (200, Some("ok")));
    assert_eq!(body["trust_root"]["name"], "simulated");
    assert_eq!(
        body["trust_root"]["sha256"].as_str().map(str::len),
        Some(64)
    );
    assert_eq!(body["loosened"], serde_json::json!([]));
    running.stop().await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let response = running.get("/nowhere").await;
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let (status, body) = answer(response).await;
    assert_eq!((status, body["code"].as_str()), (404, Some("not_found")));

    let response = running
        .request(Method::DELETE, "/v1/apps")
        .send()
        .await
        .expect("answered");
    let allow = response.headers()["allow"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(allow.contains("GET"), "{allow}");
    let (status, body) = answer(response).await;
    assert_eq!(
        (status, body["code"].as_str()),
        (405, Some("method_not_allowed"))
    );
    running.stop().await;
}

#[tokio::test]
async fn request_ids_are_answered_and_repeated_in_problems() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let sent = running
        .request(Method::GET, "/nowhere")
        .header("x-request-id", "trace-me-1");
    let response = sent.send().await.expect("answered");
    assert_eq!(response.headers()["x-request-id"], "trace-me-1");
    assert_eq!(answer(response).await.1["request_id"], "trace-me-1");

    let sent = running
        .request(Method::GET, "/health")
        .header("x-request-id", "two words");
    let response = sent.send().await.expect("answered");
    let id = response.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(id.len(), 24, "replaced: {id}");
    running.stop().await;
}

#[tokio::test]
async fn resolve_refuses_as_plain_json() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    for path in [
        "/v1/resolve/nobody",
        "/v1/resolve/Not_A_Name",
        "/v1/resolve/%ff",
    ] {
        let response = running.get(path).await;
        assert_eq!(
            response.headers()["content-type"],
            "application/json",
            "{path}"
        );
        let (status, body) = answer(response).await;
        assert_eq!(status, 404, "{path}");
        assert_eq!(body["allowed"], false, "{path}");
        assert_eq!(body["reason"], "unknown_app", "{path}");
    }
    running.stop().await;
}

#[tokio::test]
async fn every_problem_has_its_page() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    for code in ee_protocol::problem::ProblemCode::ALL {
        let response = running.get(&format!("/errors/{code}")).await;
        assert_eq!(response.status().as_u16(), 200, "{code}");
        assert!(
            response.text().await.expect("text").contains(code.hint()),
            "{code}"
        );
    }
    assert_eq!(running.get("/errors/nothing").await.status().as_u16(), 404);
    running.stop().await;
}

#[tokio::test]
async fn garbage_on_the_socket_leaves_the_server_alive() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(500));
    let long_header = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let garbage: [&[u8]; 5] = [
        b"\x16\x03\x01\x00\xff\x01\x00",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
        b"POST /v1/proxy/x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        many_headers.as_bytes(),
        long_header.as_bytes(),
    ];
    for bytes in garbage {
        let mut socket = TcpStream::connect(running.server.api_addr)
            .await
            .expect("connected");
        // The server may close while we still write: that is an answer too.
        let _ = socket.write_all(bytes).await;
        let _ = socket.shutdown().await;
        let mut answered = Vec::new();
        let _ = socket.read_to_end(&mut answered).await;
        let text = String::from_utf8_lossy(&answered);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert_eq!(running.get("/health").await.status().as_u16(), 200);
    running.stop().await;
}

#[tokio::test]
async fn what_a_client_has_already_is_not_sent_again() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let ask = async |path: &str, known: Option<&str>| {
        let mut request = running.request(Method::GET, path).bearer_auth(ADMIN);
        if let Some(known) = known {
            request = request.header("if-none-match", known);
        }
        let response = request.send().await.expect("answered");
        let tag = response.headers().get("etag").cloned();
        let tag = tag.map(|tag| tag.to_str().expect("text").to_owned());
        let status = response.status().as_u16();
        (status, tag, response.text().await.expect("text").len())
    };
    let path = "/v1/accounts";
    let (status, tag, length) = ask(path, None).await;
    let tag = tag.expect("a tag");
    assert!(status == 200 && length > 2 && tag.starts_with('"'), "{tag}");
    let listed = format!("\"other\", W/{tag}");
    for known in [tag.as_str(), listed.as_str(), "*"] {
        assert_eq!(ask(path, Some(known)).await, (304, Some(tag.clone()), 0));
    }
    assert_eq!(ask(path, Some("\"other\"")).await.0, 200);

    let bought = serde_json::json!({"account_id": "alice", "amount_usd": "1"});
    let request = running.request(Method::POST, "/v1/credits/purchase");
    let request = request.bearer_auth(ADMIN).body(bought.to_string());
    let answer = request.send().await;
    let answer = answer.expect("answered");
    assert_eq!(answer.status().as_u16(), 200);
    assert!(answer.headers().get("etag").is_none(), "only reads");
    let (status, after, _) = ask(path, Some(&tag)).await;
    assert!(
        status == 200 && after.is_some_and(|after| after != tag),
        "it has changed"
    );

    // A refusal has none, and no tag opens a door.
    let refused = running
        .request(Method::GET, path)
        .header("if-none-match", "*");
    let refused = refused.send().await.expect("answered");
    assert_eq!(refused.status().as_u16(), 401);
    assert!(refused.headers().get("etag").is_none());
    running.stop().await;
}
