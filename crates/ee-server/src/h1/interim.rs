//! Interim answers on their way past hyper, whose server sends none but 100 (RFC 9110 15.2).

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, StatusCode};

/// Bytes of interim answers that may wait for the client; more are left out.
const WAITING_MAX_BYTES: usize = 32 * 1024;

/// The interim answers of one connection. Clones put them into the same.
#[derive(Debug, Clone, Default)]
pub struct Interim(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    some: AtomicBool,
    bytes: Mutex<BytesMut>,
}

impl Interim {
    /// Puts one in. It leaves with the connection's next turn, if that is still before the answer;
    /// so the task that serves the connection must be the one that calls this.
    pub fn push(&self, status: StatusCode, headers: &HeaderMap) {
        let mut bytes = self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let fields = headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4);
        if bytes.len() + fields.sum::<usize>() > WAITING_MAX_BYTES {
            return;
        }
        let reason = status.canonical_reason().unwrap_or_default();
        bytes.put_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
        for (name, value) in headers {
            bytes.put_slice(name.as_str().as_bytes());
            bytes.put_slice(b": ");
            bytes.put_slice(value.as_bytes());
            bytes.put_slice(b"\r\n");
        }
        bytes.put_slice(b"\r\n");
        self.0.some.store(true, Ordering::Release);
    }

    /// Those that wait.
    pub(super) fn take(&self) -> Option<BytesMut> {
        if !self.0.some.swap(false, Ordering::AcqRel) {
            return None;
        }
        let mut bytes = self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut *bytes))
    }
}
