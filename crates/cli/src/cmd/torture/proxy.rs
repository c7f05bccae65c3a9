//! A proxy of torture's own between a pipeline and the systems that it talks to: on loopback, delaying, and cutting at the
//! moments that hurt most: around a COMMIT, and around the fetching of records.
//!
//! It passes bytes on and understands one thing only: a request to a database that carries `COMMIT`, a request to a broker that
//! fetches. Where the connection is encrypted it sees neither, and counts requests instead.

use onceflow::Error;
use onceflow::home::scratch::Address;
use std::io::{self, Read, Write};
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
/// The number of Kafka's request for records.
const FETCH: [u8; 2] = [0, 1];
/// The first byte of what TLS carries of an application.
const ENCRYPTED: u8 = 0x17;
/// The longest line in which a client names its broker.
const TARGET_BYTES_MAX: usize = 100;
/// How long a client may take to name it.
const TARGET_WAIT_MAX: Duration = Duration::from_secs(5);

/// Who is behind the proxy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Behind {
    /// A database of the pipeline's.
    Database,
    /// Kafka's brokers.
    Kafka,
}

/// What happens to a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cut {
    /// The request never arrives.
    BeforeRequest,
    /// The request arrives, and the connection is gone at once.
    AfterRequest,
    /// It is answered, and the answer never arrives.
    BeforeAnswer,
    /// Half of what comes first of the answer arrives.
    MidAnswer,
    /// The request and its answer are late.
    Delay,
}

impl Cut {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::BeforeRequest, Self::AfterRequest, Self::BeforeAnswer, Self::MidAnswer, Self::Delay];

    /// Its name in the matrix.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeRequest => "cut-before-request",
            Self::AfterRequest => "cut-after-request",
            Self::BeforeAnswer => "cut-before-answer",
            Self::MidAnswer => "cut-mid-answer",
            Self::Delay => "delay",
        }
    }
}

/// What the proxies of a run are to do next.
#[derive(Default)]
struct Orders {
    next: Mutex<Option<Order>>,
    fired: AtomicBool,
    over: AtomicBool,
}

struct Order {
    behind: Behind,
    cut: Cut,
    /// So many marked requests from now on, this one included.
    left: u64,
}

impl Orders {
    /// What happens to the request that is about to be passed on.
    fn request(&self, behind: Behind, marked: bool) -> Option<Cut> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let order = next.as_mut().filter(|order| marked && order.behind == behind)?;
        order.left = order.left.saturating_sub(1);
        if order.left > 0 {
            return None;
        }
        let cut = order.cut;
        *next = None;
        self.fired.store(true, Ordering::SeqCst);
        Some(cut)
    }
}

/// The proxies of one run: one for each address of each home, and one for all brokers.
pub struct Wire {
    sockets: Vec<Vec<SocketAddr>>,
    brokers: Option<SocketAddr>,
    orders: Arc<Orders>,
    listening: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl Wire {
    /// Listens on loopback for each address, and for the brokers where there are some.
    pub fn open(homes: &[Vec<Address>], kafka: bool) -> Result<Self, Error> {
        let mut wire = Self { sockets: Vec::new(), brokers: None, orders: Arc::default(), listening: Vec::new() };
        for addresses in homes {
            let sockets = addresses.iter().map(|address| wire.listen(Door::Database(address.clone())));
            let sockets = sockets.collect::<io::Result<_>>().map_err(no_proxy)?;
            wire.sockets.push(sockets);
        }
        if kafka {
            wire.brokers = Some(wire.listen(Door::Brokers).map_err(no_proxy)?);
        }
        Ok(wire)
    }

    fn listen(&mut self, door: Door) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (socket, orders) = (listener.local_addr()?, self.orders.clone());
        let thread = std::thread::Builder::new().name("onceflow-proxy".to_owned());
        self.listening.push((socket, thread.spawn(move || listen(&listener, &door, &orders))?));
        Ok(socket)
    }

    /// Where the proxies listen: for each home, one for each of its addresses.
    pub fn sockets(&self) -> &[Vec<SocketAddr>] {
        &self.sockets
    }

    /// Where the proxy of all brokers listens.
    pub fn brokers(&self) -> Option<SocketAddr> {
        self.brokers
    }

    /// Who can be cut off.
    pub fn behind(&self) -> Vec<Behind> {
        let database = self.sockets.iter().any(|sockets| !sockets.is_empty()).then_some(Behind::Database);
        database.into_iter().chain(self.brokers.map(|_| Behind::Kafka)).collect()
    }

    /// Orders a cut at the `at`-th marked request from now on.
    pub fn arm(&self, behind: Behind, cut: Cut, at: u64) {
        self.orders.fired.store(false, Ordering::SeqCst);
        let order = Order { behind, cut, left: at.max(1) };
        *self.orders.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
    }

    /// Whether the last order was carried out.
    pub fn fired(&self) -> bool {
        self.orders.fired.load(Ordering::SeqCst)
    }
}

fn no_proxy(error: io::Error) -> Error {
    Error::internal("no proxy could listen on loopback").caused_by(error)
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

/// Where a proxy's connections lead.
enum Door {
    Database(Address),
    /// To the broker that the client names in its first line.
    Brokers,
}

impl Door {
    fn behind(&self) -> Behind {
        match self {
            Self::Database(_) => Behind::Database,
            Self::Brokers => Behind::Kafka,
        }
    }

    fn server(&self, client: &mut TcpStream) -> io::Result<Stream> {
        match self {
            Self::Database(address) => Stream::connect(address),
            Self::Brokers => Ok(Stream::Tcp(TcpStream::connect(named(client)?)?)),
        }
    }
}

/// The broker that a client names: `CONNECT address:port` and a line feed.
fn named(client: &mut TcpStream) -> io::Result<SocketAddr> {
    client.set_read_timeout(Some(TARGET_WAIT_MAX))?;
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < TARGET_BYTES_MAX {
        // Byte by byte: what follows the line belongs to the broker.
        client.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        line.push(byte[0]);
    }
    client.set_read_timeout(None)?;
    let target = std::str::from_utf8(&line).ok().and_then(|line| line.strip_prefix("CONNECT ")?.parse().ok());
    target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn listen(listener: &TcpListener, door: &Door, orders: &Arc<Orders>) {
    for client in listener.incoming() {
        if orders.over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut client) = client else { continue };
        // Where the server is not there, the client sees its connection end, as without a proxy.
        if let Ok(server) = door.server(&mut client) {
            let _ = pass(Stream::Tcp(client), server, door.behind(), orders);
        }
    }
}

/// One side of a connection.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn connect(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(host, port) => Self::Tcp(TcpStream::connect((host.as_str(), *port))?),
            Address::Unix(path) => Self::Unix(UnixStream::connect(path)?),
        })
    }

    fn twin(&self) -> io::Result<Self> {
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
struct Shared {
    behind: Behind,
    /// The next answer is not delivered, or late.
    answer: Mutex<Option<Cut>>,
    /// The server agreed to encrypt.
    encrypted: AtomicBool,
}

impl Shared {
    /// Whether a request is one that counts.
    fn marks(&self, bytes: &[u8]) -> bool {
        match self.behind {
            Behind::Database => {
                self.encrypted.load(Ordering::SeqCst) || bytes.windows(MARK.len()).any(|part| part == MARK)
            }
            // A length of four bytes, then the number of the request.
            Behind::Kafka => bytes.first() == Some(&ENCRYPTED) || bytes.get(4..6) == Some(&FETCH),
        }
    }
}

/// Passes bytes on in both directions, on two threads that end with the connection.
fn pass(client: Stream, server: Stream, behind: Behind, orders: &Arc<Orders>) -> io::Result<()> {
    if let Stream::Tcp(stream) = &client {
        stream.set_nodelay(true)?;
    }
    if let Stream::Tcp(stream) = &server {
        stream.set_nodelay(true)?;
    }
    let shared = Arc::new(Shared { behind, answer: Mutex::default(), encrypted: AtomicBool::default() });
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
        let cut = orders.request(shared.behind, shared.marks(bytes));
        match cut {
            Some(Cut::BeforeRequest) => break,
            Some(Cut::Delay) => std::thread::park_timeout(DELAY),
            _ => {}
        }
        if matches!(cut, Some(Cut::BeforeAnswer | Cut::MidAnswer | Cut::Delay)) {
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
            Some(Cut::MidAnswer) => {
                // Whether it still arrives or not, the connection ends.
                let _ = client.write(&chunk[..read / 2]);
                break;
            }
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
            (Cut::BeforeRequest, false, None),
            (Cut::AfterRequest, true, None),
            (Cut::BeforeAnswer, true, None),
            (Cut::MidAnswer, true, Some("do")),
            (Cut::Delay, true, Some("done")),
        ] {
            let (address, requests) = server();
            let wire = Wire::open(&[vec![address]], false).expect("loopback");
            wire.arm(Behind::Database, cut, 2);
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
                assert_eq!(answer.as_deref(), answered, "{cut:?}");
            }
            assert_eq!(saw(&requests).is_some(), reaches, "{cut:?}");
            assert!(wire.fired());
            assert!(cut != Cut::Delay || began.elapsed() >= DELAY);
        }
    }

    #[test]
    fn a_client_names_its_broker_and_is_cut_at_the_fetch_that_was_named() {
        let (address, requests) = server();
        let Address::Tcp(host, port) = address else { panic!("a TCP server") };
        let wire = Wire::open(&[], true).expect("loopback");
        assert_eq!(wire.behind(), [Behind::Kafka]);
        wire.arm(Behind::Kafka, Cut::BeforeAnswer, 2);
        let mut client = TcpStream::connect(wire.brokers().expect("asked for")).expect("the proxy listens");
        client.write_all(format!("CONNECT {host}:{port}\n").as_bytes()).expect("the proxy takes it");
        let request = |number: u8| format!("\0\0\0\u{6}\0{}\0\0xy", char::from(number));
        for number in [18, 1, 3] {
            assert_eq!(ask(&mut client, &request(number)).as_deref(), Some("done"), "{number}");
            assert_eq!(saw(&requests), Some(request(number)));
        }
        assert!(!wire.fired());
        assert_eq!(ask(&mut client, &request(1)), None);
        assert!(wire.fired());
        assert_eq!(saw(&requests), Some(request(1)));
    }

    #[test]
    fn a_client_that_names_no_broker_is_sent_away() {
        let wire = Wire::open(&[], true).expect("loopback");
        for said in ["GET / HTTP/1.1\n".to_owned(), "CONNECT nowhere\n".to_owned(), "x".repeat(TARGET_BYTES_MAX)] {
            let mut client = TcpStream::connect(wire.brokers().expect("asked for")).expect("the proxy listens");
            assert_eq!(ask(&mut client, &said), None, "{said}");
        }
    }

    #[test]
    fn without_an_order_everything_passes() {
        let (address, requests) = server();
        let wire = Wire::open(&[vec![address]], false).expect("loopback");
        let mut client = TcpStream::connect(wire.sockets()[0][0]).expect("the proxy listens");
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "COMMIT").as_deref(), Some("done"));
            assert_eq!(saw(&requests).as_deref(), Some("COMMIT"));
        }
        assert!(!wire.fired());
    }
}
