use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;

use super::*;

fn tcp(name: &str, address: &str) -> Inherited {
    let socket = TcpListener::bind(address).unwrap().into();
    Inherited { name: name.to_owned(), socket, kept: true }
}

#[test]
fn what_belongs_to_which_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.sock");
    let unix = UnixListener::bind(&path).unwrap().into();
    let mut all = vec![
        tcp("web", "127.0.0.1:0"),
        tcp("stickyd.socket", "127.0.0.1:0"),
        tcp("", "0.0.0.0:0"),
        tcp("127.0.0.1:0", "127.0.0.1:0"),
        tcp("127.0.0.1:0", "127.0.0.1:0"),
        tcp("web", "127.0.0.1:0"),
        Inherited { name: String::new(), socket: unix, kept: true },
    ];
    let again = all[3].socket.try_clone().unwrap();
    all.push(Inherited { name: "127.0.0.1:0".to_owned(), socket: again, kept: true });
    let ip = |index: usize| all[index].place().unwrap().ip().unwrap();
    let (one, any) = (ip(1), ip(2));
    let mut check = |address: ListenAddress, expected: usize| {
        let taken = take(&mut all, &address);
        assert_eq!(taken.len(), expected, "{address}: {taken:?}");
        let same = taken.iter().all(|other| other.place() == taken[0].place());
        assert!(same || address == ListenAddress::Fd("web".to_owned()), "{taken:?}");
        assert!(taken.iter().all(Inherited::listens));
    };
    check(ListenAddress::Fd("http".to_owned()), 0);
    check(ListenAddress::Any(one.port()), 0);
    check(ListenAddress::Ip(one), 1);
    check(ListenAddress::Ip(one), 0);
    check(ListenAddress::Ip(([127, 0, 0, 1], any.port()).into()), 0);
    check(ListenAddress::Any(any.port()), 1);
    check(ListenAddress::Unix(directory.path().join("other.sock")), 0);
    check(ListenAddress::Unix(path), 1);
    // Two listeners that are called so, the first of which had two sockets.
    check(ListenAddress::Ip(([127, 0, 0, 1], 0).into()), 2);
    check(ListenAddress::Ip(([127, 0, 0, 1], 0).into()), 1);
    check(ListenAddress::Ip(([127, 0, 0, 1], 0).into()), 0);
    check(ListenAddress::Any(0), 0);
    check(ListenAddress::Fd("web".to_owned()), 2);
    assert!(all.is_empty());
}

#[test]
fn what_does_not_listen_is_seen() {
    let stream =
        std::net::TcpStream::connect(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let pipe: OwnedFd = std::io::pipe().unwrap().0.into();
    for socket in [UdpSocket::bind("127.0.0.1:0").unwrap().into(), stream.unwrap().into(), pipe] {
        assert!(!Inherited { name: String::new(), socket, kept: true }.listens());
    }
}

/// The regression: a socket of one family was taken for `:80`, and nobody heard that the other one was missing.
#[test]
fn one_family_is_not_both() {
    let v6 = |only: bool| {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_only_v6(only).unwrap();
        socket.bind(&SocketAddr::from(([0; 16], 0)).into()).unwrap();
        Inherited { name: String::new(), socket: socket.into(), kept: true }
    };
    let v4 = || tcp("", "0.0.0.0:0");
    let check = |taken: &[Inherited], missing| {
        assert_eq!(one_family(taken).map(|(_, missing)| missing), missing, "{taken:?}");
    };
    check(&[v4()], Some("IPv6"));
    check(&[v6(true)], Some("IPv4"));
    check(&[v6(false)], None);
    check(&[v4(), v6(true)], None);
    check(&[], None);
}
