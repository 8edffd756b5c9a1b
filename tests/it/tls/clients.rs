//! What clients get over TLS that they get in the clear.

use super::Edge;
use crate::support::ws::{self, Frame};
use crate::support::{End, noise};

#[test]
fn a_request_and_its_answer() {
    let edge = Edge::start("");
    let mut client = edge.connect();
    client.send("GET /a HTTP/1.1\r\nHost: app\r\n\r\n");
    let mut far = edge.instance.accept();
    let request = far.request();
    assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("https"));
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn a_tunnel() {
    let edge = Edge::start("");
    let (mut client, mut far) = edge.tunnel();
    let large = noise(1 << 20);
    for payload in [b"hello".to_vec(), large] {
        let frame = Frame::masked(ws::BINARY, payload.clone()).bytes();
        client.send(&frame);
        far.expect(&frame);
        let frame = Frame::new(ws::BINARY, payload).bytes();
        far.send(&frame);
        client.expect(&frame);
    }
    edge.proxy.counts("stickyd_tls_handshakes_total", &[("result", "full")], 1);
    far.send(Frame::close(1000).bytes());
    client.expect(Frame::close(1000).bytes());
    client.send(Frame::masked(ws::CLOSE, 1000_u16.to_be_bytes()).bytes());
    far.expect(Frame::masked(ws::CLOSE, 1000_u16.to_be_bytes()).bytes());
    far.close();
    assert_eq!(client.rest(), (vec![], End::Fin));
}
