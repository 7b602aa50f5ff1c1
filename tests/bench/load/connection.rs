//! A connection, and what is spoken on it.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Instant,
};

use super::Outcome;

/// What is spoken on a connection.
pub(crate) trait Protocol {
    /// Asks as soon as the peer lets it. The answer's time is taken from
    /// then; not at all when there is none.
    fn ask(&mut self, due: Option<Instant>);
    /// Questions without their answer.
    fn waiting(&self) -> usize;
    /// Takes of the input what is whole, and adds to the output.
    fn turn(&mut self, input: &mut Vec<u8>, output: &mut Vec<u8>, outcome: &mut Outcome);
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    protocol: Box<dyn Protocol>,
    buffer: Vec<u8>,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(target: &str, protocol: Box<dyn Protocol>) -> Self {
        let stream: Box<dyn Stream> = if let Some(path) = target.strip_prefix("unix:") {
            let stream = UnixStream::connect(path).expect("a server");
            stream.set_nonblocking(true).unwrap();
            Box::new(stream)
        } else {
            let stream = TcpStream::connect(target).expect("a server");
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            Box::new(stream)
        };
        Self { stream, protocol, buffer: vec![0; 64 * 1024], input: Vec::new(), output: Vec::new() }
    }

    pub(crate) fn ask(&mut self, due: Option<Instant>) {
        self.protocol.ask(due);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.protocol.waiting()
    }

    /// Takes what has arrived, and sends what waits; waits for nothing.
    pub(crate) fn turn(&mut self, outcome: &mut Outcome) {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => unreachable!("the server closed the connection"),
            Ok(length) => self.input.extend_from_slice(&self.buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => unreachable!("{error}"),
        }
        self.protocol.turn(&mut self.input, &mut self.output, outcome);
        if self.output.is_empty() {
            return;
        }
        match self.stream.write(&self.output) {
            Ok(length) => drop(self.output.drain(..length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => unreachable!("{error}"),
        }
    }
}
