//! Sockets that notice when nobody is there any more.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
};

/// An idle connection is asked for a sign of life this often.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// A machine that acknowledges nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// A connection, with or without TLS.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Io for T {}

/// Connects to an address, which must have been checked. Of what is written, `buffer` bytes may wait here for the network;
/// without it, as many as the system likes.
///
/// # Errors
/// When nobody answers there.
pub async fn connect(address: SocketAddr, buffer: Option<u32>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bytes) = buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let facts = SockRef::from(&stream);
    facts.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    facts.set_tcp_user_timeout(Some(SILENCE))?;
    Ok(stream)
}
