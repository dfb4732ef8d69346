//! A wire between a browser and whoever it believes to talk to: it can be led elsewhere, as a name can, and it keeps
//! what went over it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

/// What was sent one way on one connection, as text.
type Heard = Arc<Mutex<String>>;

/// Listens on 127.0.0.1 and leads each new connection to one address.
pub(super) struct Wire {
    pub port: u16,
    leads_to: Arc<Mutex<SocketAddr>>,
    connections: Arc<Mutex<Vec<[Heard; 2]>>>,
    accepting: JoinHandle<()>,
}

impl Wire {
    pub(super) async fn to(address: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (leads_to, connections) =
            (Arc::new(Mutex::new(address)), Arc::<Mutex<Vec<[Heard; 2]>>>::default());
        let (target, all) = (leads_to.clone(), connections.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let heard = [Heard::default(), Heard::default()];
                all.lock().unwrap().push(heard.clone());
                let to = *target.lock().unwrap();
                tokio::spawn(join(client, to, heard));
            }
        });
        Self { port, leads_to, connections, accepting }
    }

    /// Leads new connections elsewhere from now on.
    pub(super) fn lead_to(&self, address: SocketAddr) {
        *self.leads_to.lock().unwrap() = address;
    }

    /// Every request line that went over it, without its version.
    pub(super) fn requests(&self) -> Vec<String> {
        // What comes before it may be a body, which has no line break at its end.
        const METHODS: [&str; 5] = ["GET /", "POST /", "PUT /", "DELETE /", "OPTIONS /"];
        let begins = |line: &str| METHODS.iter().filter_map(|method| line.rfind(method)).max();
        let request = |text: &str| begins(text).map(|at| text[at..].to_owned());
        self.all(0)
            .iter()
            .flat_map(|text| text.split(" HTTP/1.1\r\n").filter_map(request).collect::<Vec<_>>())
            .collect()
    }

    /// Every status that came back.
    pub(super) fn statuses(&self) -> Vec<u16> {
        let status = |text: &str| text[..3].parse().unwrap();
        self.all(1)
            .iter()
            .flat_map(|text| text.split("HTTP/1.1 ").skip(1).map(status).collect::<Vec<_>>())
            .collect()
    }

    /// What went one way, connection by connection.
    fn all(&self, way: usize) -> Vec<String> {
        self.connections.lock().unwrap().iter().map(|both| both[way].lock().unwrap().clone()).collect()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn join(client: TcpStream, to: SocketAddr, [asked, answered]: [Heard; 2]) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::join!(copy(from_client, to_server, asked), copy(from_server, to_client, answered));
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, heard: Heard) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        heard.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
