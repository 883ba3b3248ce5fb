//! `proxy_request` and `proxy_response`: text of agents that offer no HTTP/2.

use ee_protocol::legacy::{Envelope, ProxyRequest};
use ee_tunnel::legacy;
use http::{Method, StatusCode, header::CONTENT_LENGTH};

use super::text;
use crate::{Target, seeds};

pub const TARGET: Target = Target {
    name: "legacy-frames",
    about: "JSON frames of agents without HTTP/2",
    run,
    seeds: frames,
    longest: 8 * 1024,
    floor: 1300,
};

fn frames() -> Vec<Vec<u8>> {
    seeds::texts(&[
        r#"{"type":"proxy_response","request_id":"00000000000000000000002a","status":200,"headers":{"Content-Type":"text/plain","Set-Cookie":"a=1","content-length":"4"},"body_b64":"cG9uZw=="}"#,
        r#"{"type":"proxy_response","request_id":"x","status":"304","headers":null,"body_b64":null}"#,
        r#"{"type":"proxy_response","request_id":"x","headers":{"content-encoding":"gzip"},"body_b64":""}"#,
        r#"{"type":"proxy_request","request_id":"00000000000000000000002a","method":"POST","path":"/a?b=1","headers":{"accept":"*/*","cookie":"a=1; b=2"},"body_b64":"cGluZw=="}"#,
    ])
}

fn run(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let _ = Envelope::of_response(text);
    if let Some(request) = ProxyRequest::parse(text) {
        let again = ProxyRequest::parse(&request.to_json());
        assert_eq!(again, Some(request), "a request reads back the same");
    }
    for method in [Method::GET, Method::HEAD] {
        let Ok(answer) = legacy::answer(text, &method) else {
            continue;
        };
        let status = answer.status();
        assert!((200..=599).contains(&status.as_u16()), "{status}");
        let lengths = answer.headers().get_all(CONTENT_LENGTH).iter().count();
        let keeps = method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
        assert!(lengths <= usize::from(keeps), "the length is ours to write");
        assert!(method != Method::HEAD || answer.body().is_empty());
        let clean = |byte: &u8| !matches!(byte, b'\r' | b'\n' | b'\0');
        let mut values = answer.headers().values();
        assert!(values.all(|value| value.as_bytes().iter().all(clean)));
    }
}
