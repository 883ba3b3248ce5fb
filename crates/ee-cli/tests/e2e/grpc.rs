//! gRPC as it is on the wire, through the whole chain: a client and a server made of HTTP/2
//! alone, with trailers, without a body, and with both sides speaking in turn. A WebSocket by
//! HTTP/2 as well: both are what only the HTTP/2 face can do.

#![expect(
    clippy::disallowed_methods,
    reason = "a server and connections of a test end with its runtime"
)]

use std::{convert::Infallible, net::SocketAddr, pin::Pin};

use ::http::{HeaderMap, HeaderValue, Method, Request, Response, header::CONTENT_TYPE};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, Stream, StreamExt, stream};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::SendRequest,
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use crate::{
    fronts::World,
    rig::{Network, network, network_of},
    support::curl,
};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The app, reached directly and by way of other proxies.
const HOSTS: [&str; 2] = ["hello.localhost", "rpc.apps.test"];

/// One message with the prefix of gRPC: not compressed, so many bytes.
fn message(text: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(text.len()).expect("short"));
    bytes.put_slice(text.as_bytes());
    bytes.freeze()
}

fn trailers(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (
            "grpc-status".parse().expect("a name"),
            HeaderValue::from_static(status),
        ),
        (
            "grpc-message".parse().expect("a name"),
            HeaderValue::from_static("said so"),
        ),
    ])
}

/// A server that speaks HTTP/2 without TLS and nothing else.
async fn grpc_server() -> String {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request)) });
            let connection = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(socket), service));
        }
    });
    url
}

fn answer(request: Request<Incoming>) -> Response<Body> {
    assert_eq!(request.headers()["te"], "trailers", "{request:?}");
    let host = request.uri().host().expect("an authority");
    assert!(HOSTS.contains(&host), "{request:?}");
    let mut response = if request.uri().path() == "/demo.Echo/Missing" {
        let mut response = Response::new(Empty::new().boxed_unsync());
        response.headers_mut().extend(trailers("5"));
        response
    } else {
        // Message by message, and the client's trailers among ours.
        let frames = stream::unfold(Some(request.into_body()), |body| async {
            let mut body = body?;
            match body.frame().await {
                Some(Ok(frame)) => match frame.into_trailers() {
                    Ok(mut fields) => {
                        fields.extend(trailers("0"));
                        Some((Frame::trailers(fields), None))
                    }
                    Err(frame) => Some((frame, Some(body))),
                },
                Some(Err(_)) => None,
                None => Some((Frame::trailers(trailers("0")), None)),
            }
        });
        Response::new(StreamBody::new(frames.map(Ok)).boxed_unsync())
    };
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

async fn client<B>(network: &Network) -> SendRequest<B>
where
    B: hyper::body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let socket = network.dial();
    socket.set_nonblocking(true).expect("a socket");
    let socket = tokio::net::TcpStream::from_std(socket).expect("a runtime");
    client_over(socket).await
}

async fn client_over<B, S>(stream: S) -> SendRequest<B>
where
    B: hyper::body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("prior knowledge");
    tokio::spawn(connection);
    sender
}

fn call<B>(method: &str, body: B) -> Request<B> {
    call_of("http://hello.localhost", method, body)
}

fn call_of<B>(origin: &str, method: &str, body: B) -> Request<B> {
    Request::post(format!("{origin}/demo.Echo/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_calls_end_with_their_trailers() {
    let network = network_of(&grpc_server().await);
    let mut client = client(&network).await;
    let ask = Full::new(message("ping")).with_trailers(Box::pin(async {
        Some(Ok(HeaderMap::from_iter([(
            "x-checksum".parse().expect("a name"),
            HeaderValue::from_static("abc"),
        )])))
    }));
    let response = client
        .send_request(call("Say", ask))
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
    assert_eq!(response.headers()["x-ee-origin"], "app");
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a whole answer");
    let fields = body.trailers().expect("trailers").clone();
    assert_eq!(body.to_bytes(), message("ping"));
    assert_eq!(
        (&fields["grpc-status"], &fields["grpc-message"]),
        (
            &"0".parse().expect("a value"),
            &"said so".parse().expect("a value")
        )
    );
    assert_eq!(
        fields["x-checksum"], "abc",
        "the client's trailers reach the app"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_answer_of_trailers_alone_has_no_body() {
    let network = network_of(&grpc_server().await);
    let mut client = client(&network).await;
    let ask = Full::new(message("ping"));
    let response = client
        .send_request(call("Missing", ask))
        .await
        .expect("an answer");
    assert_eq!(response.headers()["grpc-status"], "5");
    assert!(
        hyper::body::Body::is_end_stream(response.body()),
        "one HEADERS frame is all"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_streams_both_ways_in_turn() {
    let network = network_of(&grpc_server().await);
    chat(client(&network).await, "http://hello.localhost").await;
}

/// nginx takes HTTP/2 over TLS only; Traefik takes it without.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_streams_both_ways_through_each_proxy() {
    let mut world = World::start();
    world.add_app("rpc", &grpc_server().await);
    let fronts = [world.nginx_with_tls(), world.caddy(), world.traefik()];
    for front in fronts.into_iter().flatten() {
        let stream = front.connect_by_http2("rpc.apps.test").await;
        let origin = format!("{}://rpc.apps.test", front.scheme());
        chat(client_over(stream).await, &origin).await;
        let stream = front.connect_by_http2("rpc.apps.test").await;
        let ask = Full::new(message("ping"));
        let response = client_over(stream)
            .await
            .send_request(call_of(&origin, "Missing", ask));
        let response = response.await.expect("an answer");
        assert_eq!(response.headers()["grpc-status"], "5", "{}", front.name);
    }
}

type Said = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// Five answers, each to what was said after the one before.
async fn chat(mut client: SendRequest<StreamBody<Said>>, origin: &str) {
    let (say, said) = mpsc::unbounded_channel::<Bytes>();
    let frames = stream::unfold(said, |mut said| async {
        let bytes = said.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), said))
    });
    let body: StreamBody<Said> = StreamBody::new(Box::pin(frames));
    say.send(message("1")).expect("open");
    let response = client
        .send_request(call_of(origin, "Chat", body))
        .await
        .expect("an answer");
    let mut answer = response.into_body();
    for number in 1..=5 {
        let frame = answer.frame().await.expect("open").expect("a frame");
        assert_eq!(
            frame.into_data().expect("data"),
            message(&number.to_string())
        );
        say.send(message(&(number + 1).to_string())).expect("open");
    }
    drop(say);
    answer.frame().await.expect("open").expect("the sixth");
    let last = answer.frame().await.expect("open").expect("trailers");
    assert_eq!(last.into_trailers().expect("trailers")["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_by_http2_echoes() {
    let network = network();
    let mut client = client::<Empty<Bytes>>(&network).await;
    let connect = |path: &str| {
        Request::builder()
            .method(Method::CONNECT)
            .uri(format!("http://hello.localhost{path}"))
            .header("sec-websocket-version", "13")
            .extension(hyper::ext::Protocol::from_static("websocket"))
            .body(Empty::new())
            .expect("a request")
    };
    let response = client
        .send_request(connect("/ws"))
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200);
    let upgraded = hyper::upgrade::on(response).await.expect("a stream");
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
    for message in [
        Message::text("hello"),
        Message::binary(vec![7_u8; 1_000_000]),
    ] {
        socket.send(message.clone()).await.expect("open");
        assert!(socket.next().await.expect("open").expect("a message") == message);
    }
    // The app may have answered and ended the stream before our last write is through; HTTP/2 then
    // says NO_ERROR (RFC 9113 8.1), which this client reports as a failed write.
    let _ = socket.close(None).await;
    // A success that is no agreement cannot be told as one.
    let declined = client.send_request(connect("/")).await.expect("an answer");
    assert_eq!(declined.status(), 502);
    let forbidden = client
        .send_request(connect("/status/403"))
        .await
        .expect("an answer");
    assert_eq!(
        (
            forbidden.status().as_u16(),
            &forbidden.headers()["x-ee-origin"]
        ),
        (403, &"app".parse().expect("a value"))
    );
}

#[test]
fn http2_with_prior_knowledge_is_served() {
    let network = network();
    let h2 = |path: &str, more: &[&str]| {
        let url = network.control.app_url("hello", path);
        curl(&[&["--http2-prior-knowledge"][..], more, &[&url]].concat())
    };
    let answer = h2("/", &[]);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "hello from a simulated enclave\n")
    );
    let big = "x".repeat(700_000);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&file, &big).expect("disk space");
    let upload = format!("@{}", file.path().display());
    assert!(
        h2("/echo", &["--data-binary", &upload]).body == big,
        "the echo differs"
    );
    let fields: Vec<String> = (0..140).map(|number| format!("x-{number}: 1")).collect();
    let many: Vec<&str> = fields.iter().flat_map(|field| ["-H", field]).collect();
    assert_eq!(h2("/", &many).status, 431);
    let plain = curl(&[&network.control.app_url("hello", "/")]);
    assert_eq!(plain.status, 200, "HTTP/1.1 is served on the same port");
}
