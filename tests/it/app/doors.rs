//! The listener that has `/v1/authorize` alone: on a socket in the file system, and on an address.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
};

use keyward::http::{Scope, new_token};

use super::{Served, keyward, run};
use crate::redis_server::free_port;

/// Starts a service that has a token, and the listener where the setting says.
fn start(directory: &Path, listen: &str) -> Served {
    let (_, entry) = new_token(Some("ops"), &[Scope::Admin], None).unwrap();
    let token = format!("{{ id = \"ops\", hash = \"{}\", scopes = [\"admin\"] }}", entry.hash);
    let settings = format!("[server]\nauthorize_listen = \"{listen}\"\n[auth]\ntokens = [{token}]\n");
    std::fs::write(directory.join("keyward.toml"), settings).unwrap();
    let store = format!("embedded:{}", directory.join("data").display());
    let mut command = keyward(&["serve", "--listen", "127.0.0.1:0", "--store", &store, "--config"]);
    Served::start_with(command.arg(directory.join("keyward.toml")))
}

/// What comes back to a request with a key, by any connection.
fn ask(mut connection: impl Read + Write, path: &str) -> String {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\nx-api-key: sk-1\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_listener_of_proxies_has_their_route_alone_and_takes_no_token() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("authorize.sock");
    let at_a_socket = start(directory.path(), &format!("unix:{}", socket.display()));
    let connect = || UnixStream::connect(&socket).unwrap();
    let allowed = ask(connect(), "/v1/authorize/a");
    assert!(allowed.starts_with("HTTP/1.1 200 OK\r\n"), "{allowed}");
    assert!(allowed.contains("x-keyward-decision: allow\r\n"), "{allowed}");
    assert!(ask(connect(), "/v1/bans").starts_with("HTTP/1.1 404 "));
    let main = TcpStream::connect(at_a_socket.url.strip_prefix("http://").unwrap()).unwrap();
    let refused = ask(main, "/v1/authorize");
    assert!(refused.contains("x-keyward-decision: misconfigured\r\n"), "{refused}");
    // What a crash leaves is replaced by the next start.
    at_a_socket.kill();
    assert!(socket.exists());
    let again = start(directory.path(), &format!("unix:{}", socket.display()));
    assert!(ask(connect(), "/v1/authorize").starts_with("HTTP/1.1 200 "));
    assert!(again.terminate().success());
    let port = free_port();
    let _at_an_address = start(directory.path(), &format!("127.0.0.1:{port}"));
    let connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(ask(connection, "/v1/authorize").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_listener_that_cannot_be_is_named_with_its_setting() {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("keyward.toml");
    let store = format!("embedded:{}", directory.path().join("data").display());
    for (listen, code, words) in [
        ("localhost:1", 78, "server.authorize_listen"),
        ("unix:/nowhere/at/all.sock", 69, "unix:/nowhere/at/all.sock (server.authorize_listen)"),
    ] {
        std::fs::write(&settings, format!("[server]\nauthorize_listen = \"{listen}\"\n")).unwrap();
        let mut command = keyward(&["serve", "--listen", "127.0.0.1:0", "--store", &store, "--config"]);
        let (found, _, said) = run(command.arg(&settings));
        assert!(said.contains(words), "{said}");
        assert_eq!(found, code, "{said}");
    }
}
