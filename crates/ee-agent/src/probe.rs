//! One probe of the backend: a TCP connect, or `EE_HEALTH_URL` (EXPERIENCE 4).

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Empty;
use tokio::net::TcpStream;

use crate::backend::{BackendAddress, BoxError, ask};

/// A backend that takes longer is not well.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// What is probed.
#[derive(Debug, Clone)]
pub enum Probe {
    /// The backend takes a TCP connection.
    Connect(BackendAddress),
    /// A GET of this URL is answered with 2xx or 3xx.
    Get(Uri),
}

impl Probe {
    /// Whether the backend is well.
    pub async fn passes(&self) -> bool {
        match tokio::time::timeout(PROBE_DEADLINE, self.run()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::info!(event = "probe_failed", %error);
                false
            }
            Err(_) => {
                tracing::info!(event = "probe_failed", error = "no answer within 5 s");
                false
            }
        }
    }

    async fn run(&self) -> Result<(), BoxError> {
        match self {
            Self::Connect(BackendAddress { host, port }) => {
                TcpStream::connect((host.as_str(), *port)).await?;
                Ok(())
            }
            Self::Get(url) => get(url).await,
        }
    }
}

async fn get(url: &Uri) -> Result<(), BoxError> {
    let host = url
        .host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let address = BackendAddress {
        host: host.to_owned(),
        port: url.port_u16().unwrap_or(80),
    };
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(http::header::HOST, authority)
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let status = ask(&address, request).await?;
    if status.is_success() || status.is_redirection() {
        return Ok(());
    }
    Err(format!("{url} answered {status}").into())
}
