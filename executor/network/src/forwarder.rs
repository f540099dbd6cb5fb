//! A forwarder of name queries, for hosts whose only resolver listens on loopback.
//!
//! Its sockets are opened inside of a namespace, on a loopback address of that namespace, and served
//! by a thread outside: nothing new listens on the host, two builds cannot get in each other's way, and
//! it works alike for every wiring. It relays messages without looking into them, and holds a
//! bounded number at once: whoever floods it loses his own queries first.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use crate::resolv::FORWARDER;

const PORT: u16 = 53;
const MOST_QUERIES: usize = 128;
const MOST_CONNECTIONS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(30);

/// Sockets inside of a namespace.
#[derive(Debug)]
pub(crate) struct Doors {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Doors {
    /// Opens them in the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Doors> {
        let address = (FORWARDER, PORT);
        let doors = Doors { udp: UdpSocket::bind(address)?, tcp: TcpListener::bind(address)? };
        doors.udp.set_nonblocking(true)?;
        doors.tcp.set_nonblocking(true)?;
        Ok(doors)
    }
}

/// A running forwarder; dropping it closes its doors.
#[derive(Debug)]
pub(crate) struct Forwarder {
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Serves what comes in at `doors` from the servers `upstreams`, asked in this order.
    ///
    /// Must be called on a thread in the host's namespace, where the servers are.
    pub(crate) fn start(doors: Doors, upstreams: &[IpAddr]) -> io::Result<Forwarder> {
        let upstreams = upstreams.iter().map(|ip| SocketAddr::new(*ip, PORT)).collect();
        Self::serve(doors, upstreams)
    }

    fn serve(doors: Doors, upstreams: Vec<SocketAddr>) -> io::Result<Forwarder> {
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let thread = std::thread::Builder::new()
            .name("name-forwarder".to_owned())
            .stack_size(256 << 10)
            .spawn(move || Relay::new(doors, upstreams.into()).run(&stopped))?;
        Ok(Forwarder { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has ended it, too.
            let _ = thread.join();
        }
    }
}

/// A query that has been passed on.
struct Query {
    upstream: UdpSocket,
    /// Index of the server that was asked.
    server: usize,
    client: SocketAddr,
    message: Vec<u8>,
    deadline: Instant,
}

struct Relay {
    doors: Doors,
    upstreams: Arc<[SocketAddr]>,
    queries: VecDeque<Query>,
    connections: Arc<Connections>,
    buffer: Vec<u8>,
}

impl Relay {
    fn new(doors: Doors, upstreams: Arc<[SocketAddr]>) -> Relay {
        let connections = Arc::default();
        Relay { doors, upstreams, queries: VecDeque::new(), connections, buffer: vec![0; 64 << 10] }
    }

    fn run(mut self, stopped: &OwnedFd) {
        while let Ok(ready) = self.wait(stopped) {
            let Ready { stop, udp, tcp, answered } = ready;
            if stop {
                break;
            }
            // From the back, so that removing leaves the other indices right.
            for index in answered.into_iter().rev() {
                self.answer(index);
            }
            let now = Instant::now();
            self.queries.retain(|query| query.deadline > now);
            if udp {
                self.take_queries();
            }
            if tcp {
                self.take_connection();
            }
        }
        self.connections.close();
    }

    fn wait(&self, stopped: &OwnedFd) -> io::Result<Ready> {
        let mut fds: Vec<PollFd<'_>> = [stopped.as_fd(), self.doors.udp.as_fd(), self.doors.tcp.as_fd()]
            .into_iter()
            .chain(self.queries.iter().map(|query| query.upstream.as_fd()))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
        // Without a query there is nothing that could run out of time.
        let timeout = (!self.queries.is_empty()).then_some(&patience);
        rustix::io::retry_on_intr(|| poll(&mut fds, timeout))?;
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let answered = (0..self.queries.len()).filter(|index| is_ready(&fds[index + 3])).collect();
        Ok(Ready { stop: is_ready(&fds[0]), udp: is_ready(&fds[1]), tcp: is_ready(&fds[2]), answered })
    }

    fn answer(&mut self, index: usize) {
        let Some(query) = self.queries.get(index) else { return };
        match query.upstream.recv(&mut self.buffer) {
            Ok(length) => {
                // A client that has gone away misses nothing.
                let _ = self.doors.udp.send_to(&self.buffer[..length], query.client);
                self.queries.remove(index);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Nobody listens there: the next server's turn.
            Err(_) => {
                if let Some(query) = self.queries.remove(index) {
                    self.pass_on(query.message, query.client, query.server + 1);
                }
            }
        }
    }

    fn take_queries(&mut self) {
        // Bounded, so that a flood does not starve the answers.
        for _ in 0..MOST_QUERIES {
            let Ok((length, client)) = self.doors.udp.recv_from(&mut self.buffer) else { return };
            let message = self.buffer[..length].to_vec();
            self.pass_on(message, client, 0);
        }
    }

    /// Asks the first server from `first` on that can be asked.
    fn pass_on(&mut self, message: Vec<u8>, client: SocketAddr, first: usize) {
        for server in first..self.upstreams.len() {
            if let Ok(upstream) = ask(self.upstreams[server], &message) {
                if self.queries.len() >= MOST_QUERIES {
                    self.queries.pop_front();
                }
                let deadline = Instant::now() + PATIENCE;
                self.queries.push_back(Query { upstream, server, client, message, deadline });
                return;
            }
        }
    }

    fn take_connection(&mut self) {
        let Ok((client, _)) = self.doors.tcp.accept() else { return };
        let (connections, upstreams) = (Arc::clone(&self.connections), Arc::clone(&self.upstreams));
        let Some(number) = connections.admit(&client) else { return };
        let relay = move || {
            // Its end is the connection's end, whatever the reason.
            let _ = relay_stream(client, &upstreams, &connections, number);
            connections.release(number);
        };
        let thread = std::thread::Builder::new().name("name-stream".to_owned()).stack_size(256 << 10);
        if thread.spawn(relay).is_err() {
            self.connections.release(number);
        }
    }
}

struct Ready {
    stop: bool,
    udp: bool,
    tcp: bool,
    answered: Vec<usize>,
}

/// Sends a query from a socket of its own: the kernel picks the port and filters who may answer.
fn ask(server: SocketAddr, message: &[u8]) -> io::Result<UdpSocket> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    socket.send(message)?;
    Ok(socket)
}

/// The streams in use, so that they can be shut when the forwarder ends.
#[derive(Debug, Default)]
struct Connections(Mutex<Streams>);

#[derive(Debug, Default)]
struct Streams {
    closed: bool,
    next: u64,
    open: HashMap<u64, Vec<TcpStream>>,
}

impl Connections {
    fn lock(&self) -> std::sync::MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, client: &TcpStream) -> Option<u64> {
        let mut streams = self.lock();
        if streams.closed || streams.open.len() >= MOST_CONNECTIONS {
            return None;
        }
        streams.next += 1;
        let number = streams.next;
        streams.open.insert(number, vec![client.try_clone().ok()?]);
        Some(number)
    }

    fn add(&self, number: u64, stream: &TcpStream) -> io::Result<()> {
        let mut streams = self.lock();
        if streams.closed {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        streams.open.entry(number).or_default().push(stream.try_clone()?);
        Ok(())
    }

    fn release(&self, number: u64) {
        self.lock().open.remove(&number);
    }

    fn close(&self) {
        let mut streams = self.lock();
        streams.closed = true;
        for stream in streams.open.drain().flat_map(|(_, streams)| streams) {
            // Already closed is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Relays one message there and one back, until the client has no more.
fn relay_stream(
    mut client: TcpStream,
    upstreams: &[SocketAddr],
    connections: &Connections,
    number: u64,
) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(IDLE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let connected = upstreams.iter().find_map(|server| TcpStream::connect_timeout(server, PATIENCE).ok());
    let mut upstream = connected.ok_or(ErrorKind::ConnectionRefused)?;
    upstream.set_read_timeout(Some(PATIENCE))?;
    upstream.set_write_timeout(Some(PATIENCE))?;
    connections.add(number, &upstream)?;
    loop {
        let query = read_message(&mut client)?;
        upstream.write_all(&query)?;
        let answer = read_message(&mut upstream)?;
        client.write_all(&answer)?;
    }
}

/// Reads a message with the length before it, as TCP carries them.
fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = length.to_vec();
    message.resize(2 + usize::from(u16::from_be_bytes(length)), 0);
    stream.read_exact(&mut message[2..])?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

    /// A server that answers each message with itself and an exclamation mark.
    fn echo_server() -> SocketAddr {
        let tcp = TcpListener::bind(LOCAL).unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = udp.recv_from(&mut buffer) {
                buffer[length] = b'!';
                udp.send_to(&buffer[..=length], client).unwrap();
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                while let Ok(mut message) = read_message(&mut stream) {
                    message.push(b'!');
                    let length = u16::try_from(message.len() - 2).unwrap();
                    message[..2].copy_from_slice(&length.to_be_bytes());
                    stream.write_all(&message).unwrap();
                }
            }
        });
        address
    }

    fn doors() -> (Doors, SocketAddr) {
        let tcp = TcpListener::bind(LOCAL).unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        (Doors { udp, tcp }, address)
    }

    fn ask_udp(address: SocketAddr, message: &[u8]) -> Vec<u8> {
        let client = UdpSocket::bind(LOCAL).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(message, address).unwrap();
        let mut buffer = vec![0; 512];
        let length = client.recv(&mut buffer).unwrap();
        buffer.truncate(length);
        buffer
    }

    #[test]
    fn relays_both_ways_and_stops() {
        let (doors, address) = doors();
        // Nobody listens at the first, so the second is asked.
        let dead = UdpSocket::bind(LOCAL).unwrap().local_addr().unwrap();
        let forwarder = Forwarder::serve(doors, vec![dead, echo_server()]).unwrap();
        assert_eq!(ask_udp(address, b"name?"), b"name?!");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        for message in [&b"\0\x01a"[..], b"\0\x02bc"] {
            stream.write_all(message).unwrap();
            let answer = read_message(&mut stream).unwrap();
            assert_eq!(answer[2..], [&message[2..], b"!"].concat());
        }
        let start = Instant::now();
        drop(forwarder);
        assert!(start.elapsed() < Duration::from_secs(2));
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "the stream was shut");
        TcpStream::connect(address).unwrap_err();
    }

    #[test]
    fn many_queries_and_streams_at_once() {
        let (doors, address) = doors();
        let _forwarder = Forwarder::serve(doors, vec![echo_server()]).unwrap();
        std::thread::scope(|scope| {
            for number in 0..20_u8 {
                scope.spawn(move || assert_eq!(ask_udp(address, &[number]), [number, b'!']));
            }
        });
        let streams: Vec<_> = (0..MOST_CONNECTIONS + 4).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert_eq!(ask_udp(address, b"still there"), b"still there!");
        drop(streams);
    }
}
