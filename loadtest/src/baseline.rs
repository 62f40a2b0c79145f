//! The bare loop to compare with: a process that sends one ready frame to each of its sockets and does nothing else.
//! It is this same binary, started again; it owns its sockets, and the parent owns its control pipe.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use rustix::{
    fd::OwnedFd,
    net::{self, AddressFamily, SendFlags, SocketFlags, SocketType, sockopt},
};

use crate::{
    message::Template,
    spawn::{Cores, RunningChild},
};

/// Name of the hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "bare-send-loop";
const READY: &str = "ready";
const BACKLOG: i32 = 4096;

/// The parent's side: a running bare loop.
#[derive(Debug)]
pub(crate) struct BareLoop {
    child: RunningChild,
    answers: BufReader<ChildStdout>,
    control: Option<ChildStdin>,
    pub(crate) address: SocketAddr,
}

impl BareLoop {
    /// Starts it on the server's cores; it waits for `connections` clients.
    pub(crate) fn start(connections: usize, size_bytes: usize, cores: &Cores) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([SUBCOMMAND, &connections.to_string(), &size_bytes.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = cores.on_server(|| RunningChild::start(&mut command))??;
        let (control, answers) = child.take_pipes().context("the bare loop has no pipes")?;
        let mut answers = BufReader::new(answers);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let port: u16 = line.trim().parse().context("the bare loop did not tell its port")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { child, answers, control: Some(control), address })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has accepted all clients (which must be connected by now), and gives its control pipe: each
    /// sequence number (8 bytes, little-endian) is sent once to everyone.
    pub(crate) fn control(&mut self) -> anyhow::Result<ChildStdin> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.trim() != READY {
            bail!("the bare loop has ended");
        }
        self.control.take().context("the control pipe was given away")
    }
}

/// The child's side: accepts `connections` clients, then obeys the control pipe until it is closed.
pub(crate) fn serve(connections: usize, size_bytes: usize) -> anyhow::Result<()> {
    let listener = net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    net::bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    net::listen(&listener, BACKLOG)?;
    let address = SocketAddr::try_from(net::getsockname(&listener)?)?;
    let mut answers = std::io::stdout().lock();
    writeln!(answers, "{}", address.port())?;
    let mut sockets = Vec::with_capacity(connections);
    for _ in 0..connections {
        let socket = net::accept_with(&listener, SocketFlags::CLOEXEC)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockets.push(socket);
    }
    writeln!(answers, "{READY}")?;
    send_on_command(&sockets, &mut Template::server_frame(size_bytes), std::io::stdin().lock())
}

fn send_on_command(sockets: &[OwnedFd], frame: &mut Template, mut control: impl Read) -> anyhow::Result<()> {
    let mut buffer = [0; 8 * 1024];
    loop {
        let mut filled = control.read(&mut buffer)?;
        if filled == 0 {
            return Ok(());
        }
        while !filled.is_multiple_of(8) {
            let read = control.read(&mut buffer[filled..])?;
            ensure!(read > 0, "half a command");
            filled += read;
        }
        let (commands, _) = buffer[..filled].as_chunks::<8>();
        for command in commands {
            let frame = frame.with_sequence(u64::from_le_bytes(*command));
            for socket in sockets {
                let sent = net::send(socket, frame, SendFlags::NOSIGNAL)?;
                ensure!(sent == frame.len(), "a client does not read");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, net::TcpStream};

    use super::*;

    #[test]
    fn each_command_sends_one_frame_to_every_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
        let address = listener.local_addr().expect("address");
        let mut clients: Vec<TcpStream> =
            (0..3).map(|_| TcpStream::connect(address).expect("client")).collect();
        let sockets: Vec<OwnedFd> = (0..3).map(|_| listener.accept().expect("socket").0.into()).collect();
        let commands: Vec<u8> = [5u64, 6].into_iter().flat_map(u64::to_le_bytes).collect();
        let mut frame = Template::server_frame(20);
        send_on_command(&sockets, &mut frame, commands.as_slice()).expect("sent");
        drop(sockets);
        let expected = [frame.with_sequence(5).to_vec(), frame.with_sequence(6).to_vec()].concat();
        for client in &mut clients {
            let mut received = Vec::new();
            client.read_to_end(&mut received).expect("all");
            assert_eq!(received, expected);
        }
    }

    #[test]
    fn half_a_command_is_an_error() {
        assert!(send_on_command(&[], &mut Template::server_frame(12), [1u8, 2, 3].as_slice()).is_err());
    }
}
