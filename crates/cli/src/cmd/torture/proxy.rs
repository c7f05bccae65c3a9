//! A proxy of torture's own between a pipeline and its database: on loopback, delaying, and cutting at the moments that
//! hurt most, around a COMMIT.
//!
//! It passes bytes on and understands one thing only: a request that carries `COMMIT`. Where the connection is encrypted it
//! sees none, and counts requests instead.

use onceflow::Error;
use onceflow::home::scratch::Address;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is passed on at once.
const CHUNK_BYTES: usize = 64 << 10;
/// How long a request and its answer are held up.
const DELAY: Duration = Duration::from_millis(400);
/// The word that a request carries when it is the one to cut.
const MARK: &[u8] = b"COMMIT";

/// What happens to a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cut {
    /// The request never reaches the database.
    BeforeRequest,
    /// The request reaches the database, and the connection is gone at once.
    AfterRequest,
    /// The database answers, and the answer never arrives.
    BeforeAnswer,
    /// The request and its answer are late.
    Delay,
}

impl Cut {
    /// All of them.
    pub const ALL: &[Self] = &[Self::BeforeRequest, Self::AfterRequest, Self::BeforeAnswer, Self::Delay];

    /// Its name in the matrix.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeRequest => "cut-before-request",
            Self::AfterRequest => "cut-after-request",
            Self::BeforeAnswer => "cut-before-answer",
            Self::Delay => "delay",
        }
    }
}

/// What the proxies of a run are to do next.
#[derive(Default)]
struct Orders {
    next: Mutex<Option<(Cut, u64)>>,
    fired: AtomicBool,
    over: AtomicBool,
}

impl Orders {
    /// What happens to the request that is about to be passed on.
    fn request(&self, marked: bool) -> Option<Cut> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let (cut, left) = next.as_mut().filter(|_| marked)?;
        *left = left.saturating_sub(1);
        if *left > 0 {
            return None;
        }
        let cut = *cut;
        *next = None;
        self.fired.store(true, Ordering::SeqCst);
        Some(cut)
    }
}

/// The proxies of one run, one for each address of each home.
pub struct Wire {
    sockets: Vec<Vec<SocketAddr>>,
    orders: Arc<Orders>,
    listening: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl Wire {
    /// Listens on loopback for each address.
    pub fn open(homes: &[Vec<Address>]) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::internal("no proxy could listen on loopback").caused_by(error);
        let mut wire = Self { sockets: Vec::new(), orders: Arc::default(), listening: Vec::new() };
        for addresses in homes {
            let mut sockets = Vec::new();
            for address in addresses {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
                let socket = listener.local_addr().map_err(failed)?;
                let (address, orders) = (address.clone(), wire.orders.clone());
                let thread = std::thread::Builder::new().name("onceflow-proxy".to_owned());
                let listening = thread.spawn(move || listen(&listener, &address, &orders)).map_err(failed)?;
                wire.listening.push((socket, listening));
                sockets.push(socket);
            }
            wire.sockets.push(sockets);
        }
        Ok(wire)
    }

    /// Where the proxies listen: for each home, one for each of its addresses.
    pub fn sockets(&self) -> &[Vec<SocketAddr>] {
        &self.sockets
    }

    /// Orders a cut at the `at`-th commit from now on.
    pub fn arm(&self, cut: Cut, at: u64) {
        self.orders.fired.store(false, Ordering::SeqCst);
        *self.orders.next.lock().unwrap_or_else(PoisonError::into_inner) = Some((cut, at.max(1)));
    }

    /// Whether the last order was carried out.
    pub fn fired(&self) -> bool {
        self.orders.fired.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.orders.over.store(true, Ordering::SeqCst);
        for (socket, listening) in self.listening.drain(..) {
            // A last connection wakes the listener up, which then sees that it is over.
            drop(TcpStream::connect_timeout(&socket, Duration::from_secs(1)));
            let _ = listening.join();
        }
    }
}

fn listen(listener: &TcpListener, address: &Address, orders: &Arc<Orders>) {
    for client in listener.incoming() {
        if orders.over.load(Ordering::SeqCst) {
            return;
        }
        // Where the database is not there, the client sees its connection end, as without a proxy.
        if let (Ok(client), Ok(server)) = (client, Stream::connect(address)) {
            let _ = pass(Stream::Tcp(client), server, orders);
        }
    }
}

/// One side of a connection.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn connect(address: &Address) -> std::io::Result<Self> {
        Ok(match address {
            Address::Tcp(host, port) => Self::Tcp(TcpStream::connect((host.as_str(), *port))?),
            Address::Unix(path) => Self::Unix(UnixStream::connect(path)?),
        })
    }

    fn twin(&self) -> std::io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    fn close(&self) {
        // It may be closed already.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    fn read(&mut self, chunk: &mut [u8]) -> usize {
        let read = match self {
            Self::Tcp(stream) => stream.read(chunk),
            Self::Unix(stream) => stream.read(chunk),
        };
        read.unwrap_or(0)
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        let written = match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        };
        written.is_ok()
    }
}

/// What the two directions of a connection tell each other.
#[derive(Default)]
struct Shared {
    /// The next answer is not delivered, or late.
    answer: Mutex<Option<Cut>>,
    /// The server agreed to encrypt.
    encrypted: AtomicBool,
}

/// Passes bytes on in both directions, on two threads that end with the connection.
fn pass(client: Stream, server: Stream, orders: &Arc<Orders>) -> std::io::Result<()> {
    if let Stream::Tcp(stream) = &client {
        stream.set_nodelay(true)?;
    }
    if let Stream::Tcp(stream) = &server {
        stream.set_nodelay(true)?;
    }
    let shared = Arc::new(Shared::default());
    let (client_twin, server_twin, twin) = (client.twin()?, server.twin()?, shared.clone());
    let orders = orders.clone();
    let thread = |name: &str| std::thread::Builder::new().name(format!("onceflow-proxy-{name}"));
    thread("requests").spawn(move || requests(client, server, &shared, &orders))?;
    thread("answers").spawn(move || answers(server_twin, client_twin, &twin))?;
    Ok(())
}

fn requests(mut client: Stream, mut server: Stream, shared: &Shared, orders: &Orders) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = client.read(&mut chunk);
        if read == 0 {
            break;
        }
        let bytes = &chunk[..read];
        let marked = shared.encrypted.load(Ordering::SeqCst) || bytes.windows(MARK.len()).any(|part| part == MARK);
        let cut = orders.request(marked);
        match cut {
            Some(Cut::BeforeRequest) => break,
            Some(Cut::Delay) => std::thread::park_timeout(DELAY),
            _ => {}
        }
        if matches!(cut, Some(Cut::BeforeAnswer | Cut::Delay)) {
            *shared.answer.lock().unwrap_or_else(PoisonError::into_inner) = cut;
        }
        if !server.write(bytes) || cut == Some(Cut::AfterRequest) {
            break;
        }
    }
    client.close();
    server.close();
}

fn answers(mut server: Stream, mut client: Stream, shared: &Shared) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut first = true;
    loop {
        let read = server.read(&mut chunk);
        if read == 0 {
            break;
        }
        // The one byte with which PostgreSQL answers the wish to encrypt.
        if std::mem::take(&mut first) && &chunk[..read] == b"S" {
            shared.encrypted.store(true, Ordering::SeqCst);
        }
        match shared.answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(Cut::Delay) => std::thread::park_timeout(DELAY),
            Some(_) => break,
            None => {}
        }
        if !client.write(&chunk[..read]) {
            break;
        }
    }
    client.close();
    server.close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Instant;

    /// A server that answers each request of one connection with `done`, and says what it was asked.
    fn server() -> (Address, Receiver<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let port = listener.local_addr().expect("it is bound").port();
        let (asked, requests) = channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the proxy connects");
            let mut chunk = [0; 100];
            while let Ok(read) = stream.read(&mut chunk)
                && read > 0
            {
                // Whoever asked may be gone; that is what is tested.
                let _ = asked.send(String::from_utf8_lossy(&chunk[..read]).into_owned());
                let _ = stream.write_all(b"done");
            }
        });
        (Address::Tcp("127.0.0.1".to_owned(), port), requests)
    }

    /// What the client gets for one request, and whether the server saw it.
    fn ask(client: &mut TcpStream, text: &str) -> Option<String> {
        client.write_all(text.as_bytes()).expect("the proxy takes it");
        let mut chunk = [0; 100];
        let read = client.read(&mut chunk).unwrap_or(0);
        (read > 0).then(|| String::from_utf8_lossy(&chunk[..read]).into_owned())
    }

    fn saw(requests: &Receiver<String>) -> Option<String> {
        requests.recv_timeout(Duration::from_millis(500)).ok()
    }

    #[test]
    fn a_connection_is_cut_at_the_commit_that_was_named_and_where_it_was_ordered() {
        for (cut, reaches, answered) in [
            (Cut::BeforeRequest, false, false),
            (Cut::AfterRequest, true, false),
            (Cut::BeforeAnswer, true, false),
            (Cut::Delay, true, true),
        ] {
            let (address, requests) = server();
            let wire = Wire::open(&[vec![address]]).expect("loopback");
            wire.arm(cut, 2);
            let mut client = TcpStream::connect(wire.sockets()[0][0]).expect("the proxy listens");
            for text in ["INSERT", "COMMIT", "INSERT"] {
                assert_eq!(ask(&mut client, text).as_deref(), Some("done"), "{cut:?} {text}");
                assert_eq!(saw(&requests).as_deref(), Some(text));
            }
            assert!(!wire.fired());
            let began = Instant::now();
            let answer = ask(&mut client, "COMMIT");
            // The answer of a request that was cut behind it may come before the cut.
            if cut != Cut::AfterRequest {
                assert_eq!(answer.is_some(), answered, "{cut:?}");
            }
            assert_eq!(saw(&requests).is_some(), reaches, "{cut:?}");
            assert!(wire.fired());
            assert!(cut != Cut::Delay || began.elapsed() >= DELAY);
        }
    }

    #[test]
    fn without_an_order_everything_passes() {
        let (address, requests) = server();
        let wire = Wire::open(&[vec![address]]).expect("loopback");
        let mut client = TcpStream::connect(wire.sockets()[0][0]).expect("the proxy listens");
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "COMMIT").as_deref(), Some("done"));
            assert_eq!(saw(&requests).as_deref(), Some("COMMIT"));
        }
        assert!(!wire.fired());
    }
}
