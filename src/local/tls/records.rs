//! rustls by its unbuffered interface: one function that goes through records, for either end.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, Error};

/// Which end we are.
pub(super) enum Session {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What we have to say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word<'w> {
    Bytes(&'w [u8]),
    /// That we end (`close_notify`).
    Bye,
}

/// How a connection stands after a look at its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Hands are not shaken yet.
    Handshake,
    /// Both sides may say what they like; a word has been sealed.
    Open,
    /// The peer has said that it ends; or we have, and a word was too late.
    Ended,
}

/// Sealed records, in a place that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    bytes: Vec<u8>,
    len: usize,
}

impl Sealed {
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Has `write` put something behind what is there, with as much room as it needs.
    fn put<E>(
        &mut self,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
        needs: impl Fn(&E) -> Option<usize>,
    ) -> Result<(), E> {
        loop {
            match write(&mut self.bytes[self.len..]) {
                Ok(count) => {
                    self.len += count;
                    return Ok(());
                }
                Err(error) => match needs(&error) {
                    Some(room) => self.bytes.resize(self.len + room, 0),
                    None => return Err(error),
                },
            }
        }
    }
}

trait Records {
    type Data;

    fn common(&self) -> &CommonState;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn common(&self) -> &CommonState {
        self
    }

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn common(&self) -> &CommonState {
        self
    }

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Session {
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Session::Server(server) => server.common(),
            Session::Client(client) => client.common(),
        }
    }

    /// Goes through `incoming`, which begins with what was left of the last: rustls remembers places in it. `plain` gets what was in it, `sealed` what the protocol itself has to say, and then `word`. Also
    /// tells how many bytes are done with; those behind are the beginning of a record.
    pub(super) fn drive(
        &mut self,
        incoming: &mut [u8],
        word: Option<Word<'_>>,
        plain: &mut dyn FnMut(&[u8]),
        sealed: &mut Sealed,
    ) -> (usize, Result<Stand, Error>) {
        match self {
            Session::Server(server) => drive(server, incoming, word, plain, sealed),
            Session::Client(client) => drive(client, incoming, word, plain, sealed),
        }
    }
}

fn drive(
    session: &mut impl Records,
    incoming: &mut [u8],
    word: Option<Word<'_>>,
    plain: &mut dyn FnMut(&[u8]),
    sealed: &mut Sealed,
) -> (usize, Result<Stand, Error>) {
    let (mut used, mut ended) = (0, false);
    loop {
        let UnbufferedStatus { mut discard, state, .. } = session.process(&mut incoming[used..]);
        let stand = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut bad = None;
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            discard += record.discard;
                            plain(record.payload);
                        }
                        Err(error) => bad = Some(Err(error)),
                    }
                }
                bad
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let put = sealed.put(
                    |room| data.encode(room),
                    |error| match error {
                        EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                            Some(*required_size)
                        }
                        EncodeError::AlreadyEncoded => None,
                    },
                );
                put.err().map(|error| Err(Error::General(error.to_string())))
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It is as good as sent: nothing overtakes it.
                data.done();
                None
            }
            Ok(ConnectionState::PeerClosed) => {
                ended = true;
                None
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => Some(match word {
                None => Ok(if ended { Stand::Ended } else { Stand::Open }),
                Some(word) => {
                    let put = sealed.put(
                        |room| match word {
                            Word::Bytes(bytes) => traffic.encrypt(bytes, room),
                            Word::Bye => traffic.queue_close_notify(room),
                        },
                        |error| match error {
                            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                                Some(*required_size)
                            }
                            EncryptError::EncryptExhausted => None,
                        },
                    );
                    put.map(|()| Stand::Open).map_err(|error| Error::General(error.to_string()))
                }
            }),
            Ok(ConnectionState::BlockedHandshake) => {
                Some(Ok(if ended { Stand::Ended } else { Stand::Handshake }))
            }
            Ok(ConnectionState::Closed) => Some(Ok(Stand::Ended)),
            // Early data is never allowed.
            Ok(_) => Some(Err(Error::HandshakeNotComplete)),
            Err(error) => {
                used += discard;
                last_words(session, &mut incoming[used..], sealed);
                return (used, Err(error));
            }
        };
        used += discard;
        if let Some(stand) = stand {
            return (used, stand);
        }
    }
}

/// What the peer is told about what was wrong. Only while there is something to be told: then rustls does not look at `incoming`.
fn last_words(session: &mut impl Records, incoming: &mut [u8], sealed: &mut Sealed) {
    while session.common().wants_write() {
        match session.process(incoming).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let needs = |error: &EncodeError| match error {
                    EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                        Some(*required_size)
                    }
                    EncodeError::AlreadyEncoded => None,
                };
                if sealed.put(|room| data.encode(room), needs).is_err() {
                    return;
                }
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(_) | Err(_) => return,
        }
    }
}
