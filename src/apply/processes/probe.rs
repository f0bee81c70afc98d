//! Asks a process over HTTP whether it is ready.
//!
//! A request over loopback and the status line of its answer are all that is needed, so no HTTP client is.
//!
//! Must not know: what is done with the answer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest one question may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks until the answer is 2xx. Ends only by that, or by being dropped.
pub(super) async fn until_ready(port: u16, path: &str) {
    while !matches!(tokio::time::timeout(PATIENCE, status(port, path)).await, Ok(Ok(200..=299))) {
        tokio::time::sleep(PAUSE).await;
    }
}

/// The status of one `GET`.
async fn status(port: u16, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // "HTTP/1.1 200"
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let text = std::str::from_utf8(&head).unwrap_or_default();
    let code = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..)).and_then(|code| code.parse().ok());
    code.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
