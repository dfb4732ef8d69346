//! The listener that has `/v1/authorize` alone: on an address, or on a socket in the file system.

use std::{
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

use axum::Router;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::{
    config::{AuthorizeListen, Server},
    http,
};

/// Who may use the socket: its owner and its group, as the folder lets them.
const SOCKET_MODE: u32 = 0o660;

/// A listener that waits for its routes.
pub(super) enum AuthorizeListener {
    None,
    Address(TcpListener),
    Socket(UnixListener),
}

impl AuthorizeListener {
    /// Listens where the setting says. A socket that an earlier start has left, and that nobody serves, is replaced.
    pub(super) async fn open(setting: &AuthorizeListen) -> Result<Self, AppError> {
        let opened = match setting {
            AuthorizeListen::Off => Ok(Self::None),
            AuthorizeListen::Address(address) => TcpListener::bind(address).await.map(Self::Address),
            AuthorizeListen::Socket(path) => socket(path).await.map(Self::Socket),
        };
        opened.map_err(|source| AppError::AuthorizeListen { place: setting.to_string(), source })
    }

    /// Whether it listens anywhere.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Serves the routes until `stop`.
    pub(super) fn serve(
        self,
        router: Router,
        settings: Arc<Server>,
        stop: CancellationToken,
    ) -> Option<JoinHandle<io::Result<()>>> {
        match self {
            Self::None => None,
            Self::Address(listener) => {
                Some(tokio::spawn(async move { http::serve(listener, router, &settings, stop).await }))
            }
            Self::Socket(listener) => {
                Some(tokio::spawn(async move { http::serve(listener, router, &settings, stop).await }))
            }
        }
    }
}

async fn socket(path: &Path) -> io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

/// How a listener that may not be there ended.
pub(super) async fn join(serving: Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    match serving {
        None => Ok(()),
        Some(serving) => serving.await.map_err(io::Error::other)?,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyward.sock");
        drop(socket(&path).await.unwrap());
        let listener = socket(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        let error = socket(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        let file = folder.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        assert_eq!(socket(&file).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::read_to_string(file).unwrap(), "kept");
    }
}
