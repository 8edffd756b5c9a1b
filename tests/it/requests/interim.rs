//! Interim answers: 100 and 103.

use super::{exchange, get, ok, trio};

const POST: &str = "POST / HTTP/1.1\r\nHost: app\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let (_proxy, instance, mut client) = trio();
    client.send(POST);
    let mut far = instance.accept();
    let head = far.head();
    assert!(head.contains("Expect: 100-continue\r\n"), "{head}");
    far.send("HTTP/1.1 100 Continue\r\n\r\n");
    client.expect("HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body");
    far.expect("body");
    far.send(ok("done"));
    assert_eq!(client.answer().text(), "done");
    exchange(&mut client, &mut far, "/next", &ok("next"));
}

#[test]
fn a_client_that_asks_first_may_be_told_no() {
    let (_proxy, instance, mut client) = trio();
    client.send(POST);
    let mut far = instance.accept();
    far.head();
    far.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status(), 417);
    // Whether the client sends its body now, nobody knows.
    client.ends();
    far.is_gone();
}

#[test]
fn a_client_that_asks_first_need_not_wait() {
    let (_proxy, instance, mut client) = trio();
    client.send(POST.to_owned() + "body");
    let mut far = instance.accept();
    far.head();
    far.expect("body");
    far.send(ok("done"));
    assert_eq!(client.answer().text(), "done");
    exchange(&mut client, &mut far, "/next", &ok("next"));
}

#[test]
fn hints_pass_and_the_answer_follows() {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: X\r\nX: y\r\n\r\n");
    client.expect("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
    far.send(format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n{}", ok("done")));
    client.expect("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
    assert_eq!(client.answer().text(), "done");
    exchange(&mut client, &mut far, "/next", &ok("next"));
}

#[test]
fn large_hints_do_not_break_the_answer() {
    // Together more than what one read can bring.
    let (_proxy, instance, mut client) = trio();
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "x".repeat(5000));
    let mut writer = far.writer();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.send(hint.repeat(16) + &ok("done")));
        for _ in 0..16 {
            client.expect(&hint);
        }
        assert_eq!(client.answer().text(), "done");
    });
}

#[test]
fn hints_without_end_are_no_answer() {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17));
    let mut answer = client.answer();
    while answer.status() == 103 {
        answer = client.answer();
    }
    assert_eq!(answer.status(), 502);
    far.is_gone();
}

#[test]
fn an_old_client_knows_no_interim_answers() {
    let (_proxy, instance, mut client) = trio();
    client.send("POST / HTTP/1.0\r\nHost: app\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody");
    let mut far = instance.accept();
    let request = far.request();
    assert_eq!((request.field("expect"), request.text()), (None, "body"));
    far.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n".to_owned() + &ok("done"));
    assert_eq!(client.answer().text(), "done");
}

#[test]
fn an_interim_answer_alone_is_none() {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 103 Early Hints\r\n\r\n");
    far.close();
    assert_eq!(client.answer().status(), 103);
    assert_eq!(client.answer().status(), 502);
}
