//! The listeners that have a part alone, `/v1/authorize` or gRPC: on an address, or on a socket in the file system.

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
    config::{DoorListen, Server},
    http::{self, AppState},
};

/// Who may use the socket: its owner and its group, as the folder lets them.
const SOCKET_MODE: u32 = 0o660;

/// The listeners that are asked for, until they have their routes.
pub(super) struct Doors {
    authorize: Option<DoorListener>,
    grpc: Option<DoorListener>,
}

/// Listeners that serve.
pub(super) type Serving = Vec<JoinHandle<io::Result<()>>>;

enum DoorListener {
    Address(TcpListener),
    Socket(UnixListener),
}

impl Doors {
    /// Listens where the settings say.
    pub(super) async fn open(server: &Server) -> Result<Self, AppError> {
        Ok(Self {
            authorize: open("server.authorize_listen", &server.authorize_listen).await?,
            grpc: open("server.grpc_listen", &server.grpc_listen).await?,
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        usize::from(self.authorize.is_some()) + usize::from(self.grpc.is_some())
    }

    /// Serves the routes until `stop`.
    pub(super) fn serve(
        self,
        state: &Arc<AppState>,
        settings: &Arc<Server>,
        stop: &CancellationToken,
    ) -> Serving {
        let serve = |(listener, router)| match listener {
            DoorListener::Address(listener) => spawn(listener, router, settings, stop),
            DoorListener::Socket(listener) => spawn(listener, router, settings, stop),
        };
        let authorize = self.authorize.map(|listener| (listener, http::authorize_router(state.clone())));
        let grpc = self.grpc.map(|listener| (listener, http::grpc_router(state.clone())));
        authorize.into_iter().chain(grpc).map(serve).collect()
    }
}

fn spawn(
    listener: impl http::server::Listener + Sync + 'static,
    router: Router,
    settings: &Arc<Server>,
    stop: &CancellationToken,
) -> JoinHandle<io::Result<()>> {
    let (settings, stop) = (settings.clone(), stop.clone());
    tokio::spawn(async move { http::serve(listener, router, &settings, stop).await })
}

/// A socket that an earlier start has left, and that nobody serves, is replaced.
async fn open(setting: &'static str, wanted: &DoorListen) -> Result<Option<DoorListener>, AppError> {
    let opened = match wanted {
        DoorListen::Off => return Ok(None),
        DoorListen::Address(address) => TcpListener::bind(address).await.map(DoorListener::Address),
        DoorListen::Socket(path) => socket(path).await.map(DoorListener::Socket),
    };
    let failed = |source| AppError::DoorListen { setting, place: wanted.to_string(), source };
    opened.map(Some).map_err(failed)
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

/// How listeners ended: the first failure of any.
pub(super) async fn join(serving: Serving) -> io::Result<()> {
    let mut ended = Ok(());
    for one in serving {
        ended = ended.and(one.await.map_err(io::Error::other).flatten());
    }
    ended
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
