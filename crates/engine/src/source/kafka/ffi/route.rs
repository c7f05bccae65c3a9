//! Connections by way of a proxy that can cut them: for `torture`, which must not rely on the addresses that brokers name.
//!
//! A client connects to the proxy instead of the broker and sends one line first, `CONNECT address:port`, so that the proxy knows
//! where to go on. What follows is the ordinary protocol, encrypted or not.

use rdkafka::config::NativeClientConfig;
use rdkafka_sys as sys;
use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a proxy on loopback may take to accept.
const ACCEPT_WAIT_MAX: Duration = Duration::from_secs(5);

static PROXY: OnceLock<SocketAddr> = OnceLock::new();

/// From now on every client of this process reaches its brokers through the proxy. The first call decides.
pub(in super::super) fn connect_through(proxy: SocketAddr) {
    // A second proxy would be a mistake of the caller; the first one stays.
    let _ = PROXY.set(proxy);
}

/// Installs the detour in a configuration, where there is one.
pub(super) fn install(native: &NativeClientConfig) {
    if PROXY.get().is_some() {
        // SAFETY: the configuration is alive, and the callback is a function that lives for ever.
        unsafe { sys::rd_kafka_conf_set_connect_cb(native.ptr(), Some(connect)) };
    }
}

/// Called by librdkafka in place of `connect`. Answers 0 or an errno.
///
/// # Safety
/// librdkafka's contract: `socket` is open, `address` points to `length` bytes of a socket address.
unsafe extern "C" fn connect(
    socket: c_int,
    address: *const libc::sockaddr,
    length: c_int,
    _: *const c_char,
    _: *mut c_void,
) -> c_int {
    let Some(proxy) = PROXY.get() else { return libc::ECONNREFUSED };
    // SAFETY: passed on as we got it.
    let done = unsafe { target(address, length) }.and_then(|target| detour(socket, *proxy, target));
    done.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::ECONNREFUSED))
}

/// Reads a socket address.
///
/// # Safety
/// `address` points to `length` bytes.
unsafe fn target(address: *const libc::sockaddr, length: c_int) -> io::Result<SocketAddr> {
    let length = usize::try_from(length).unwrap_or_default();
    let unknown = || io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
    if address.is_null() || length < size_of::<libc::sockaddr_in>() {
        return Err(unknown());
    }
    // SAFETY: there are enough bytes for what is read, which needs no alignment here.
    unsafe {
        match c_int::from(address.cast::<libc::sa_family_t>().read_unaligned()) {
            libc::AF_INET => {
                let it = address.cast::<libc::sockaddr_in>().read_unaligned();
                Ok(SocketAddr::new(Ipv4Addr::from(u32::from_be(it.sin_addr.s_addr)).into(), u16::from_be(it.sin_port)))
            }
            libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
                let it = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Ok(SocketAddr::new(Ipv6Addr::from(it.sin6_addr.s6_addr).into(), u16::from_be(it.sin6_port)))
            }
            _ => Err(unknown()),
        }
    }
}

/// Connects a socket, which does not block, to the proxy and names the target.
fn detour(socket: c_int, proxy: SocketAddr, target: SocketAddr) -> io::Result<()> {
    if let Err(error) = connect_to(socket, proxy)
        && error.raw_os_error() != Some(libc::EINPROGRESS)
    {
        return Err(error);
    }
    let line = format!("CONNECT {target}\n");
    let until = Instant::now() + ACCEPT_WAIT_MAX;
    let mut sent = 0;
    while sent < line.len() {
        writable(socket, until)?;
        let rest = &line.as_bytes()[sent..];
        // SAFETY: the bytes are alive for the call.
        let written = unsafe { libc::send(socket, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        match usize::try_from(written) {
            Ok(written) => sent += written,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::WouldBlock {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Starts to connect; a socket for version 6 reaches a proxy of version 4 by its mapped address.
fn connect_to(socket: c_int, proxy: SocketAddr) -> io::Result<()> {
    let port = proxy.port().to_be();
    let done = match (family(socket)?, proxy.ip()) {
        (libc::AF_INET, IpAddr::V4(ip)) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: port,
                sin_addr: libc::in_addr { s_addr: u32::from(ip).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: the address is alive for the call, and the length is its own.
            unsafe { libc::connect(socket, (&raw const address).cast(), size_of_val(&address) as libc::socklen_t) }
        }
        (libc::AF_INET6, ip) => {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: port,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: ip.octets() },
                sin6_scope_id: 0,
            };
            // SAFETY: as above.
            unsafe { libc::connect(socket, (&raw const address).cast(), size_of_val(&address) as libc::socklen_t) }
        }
        _ => return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn family(socket: c_int) -> io::Result<c_int> {
    let (mut family, mut length) = (0_i32, size_of::<c_int>() as libc::socklen_t);
    // SAFETY: both pointers are alive for the call, and the length is that of the value.
    let done = unsafe {
        libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_DOMAIN, (&raw mut family).cast(), &raw mut length)
    };
    if done == 0 { Ok(family) } else { Err(io::Error::last_os_error()) }
}

fn writable(socket: c_int, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    let mut asked = libc::pollfd { fd: socket, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, alive for the call.
    match unsafe { libc::poll(&raw mut asked, 1, i32::try_from(left.as_millis()).unwrap_or(i32::MAX)) } {
        0 => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
        1.. => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::FromRawFd as _;

    fn socket(family: c_int) -> c_int {
        // SAFETY: no pointers.
        let socket = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0) };
        assert!(socket >= 0);
        socket
    }

    #[test]
    fn the_proxy_is_told_where_to_go_on() {
        for family in [libc::AF_INET, libc::AF_INET6] {
            for target in ["10.1.2.3:9092", "[2001:db8::7]:9093"] {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let socket = socket(family);
                detour(socket, listener.local_addr().unwrap(), target.parse().unwrap()).unwrap();
                // SAFETY: the socket is ours and is closed by the stream.
                drop(unsafe { TcpStream::from_raw_fd(socket) });
                let mut said = String::new();
                listener.accept().unwrap().0.read_to_string(&mut said).unwrap();
                assert_eq!(said, format!("CONNECT {target}\n"));
            }
        }
    }

    #[test]
    fn addresses_are_read_as_they_were_given() {
        let four = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: 9092_u16.to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::new(10, 1, 2, 3)).to_be() },
            sin_zero: [0; 8],
        };
        let length = size_of_val(&four) as c_int;
        // SAFETY: the value is alive, and the length is its own or less.
        unsafe {
            let read = target((&raw const four).cast(), length).unwrap();
            assert_eq!(read, "10.1.2.3:9092".parse().unwrap());
            assert!(target((&raw const four).cast(), 4).is_err());
            assert!(target(std::ptr::null(), length).is_err());
        }
    }

    #[test]
    fn nobody_listens_is_an_error() {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let socket = socket(libc::AF_INET);
        let done = detour(socket, (Ipv4Addr::LOCALHOST, port).into(), "10.1.2.3:9092".parse().unwrap());
        assert!(done.is_err());
        // SAFETY: the socket is ours and is closed by the stream.
        drop(unsafe { TcpStream::from_raw_fd(socket) });
    }
}
