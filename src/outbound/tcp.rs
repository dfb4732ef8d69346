//! TCP connections that notice when nobody is at the other end any more.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
};

/// How often an idle connection is asked for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long the other machine may acknowledge nothing before it counts as gone.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The bytes of a connection, with or without TLS.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> ByteStream for T {}

/// Connects to `address`, which must have been checked by the guard. `send_buffer` bounds how many written bytes may
/// wait here for the network; `None` leaves it to the system.
///
/// # Errors
/// The error of the system, if nobody answers at the address.
pub async fn connect(address: SocketAddr, send_buffer: Option<u32>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bytes) = send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(stream)
}
