//! Answers: those without body, those that end with their connection, those that break off.

use super::{get, ok, trio};
use crate::support::{End, Socket, eventually};

#[test]
fn answers_without_a_body_keep_the_connection() {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/first"));
    let mut far = instance.accept();
    far.request();
    far.send(ok(""));
    client.answer();
    let mut check = |request: &str, answer: &str, expected: &str| {
        client.send(format!("{request} /x HTTP/1.1\r\nHost: app\r\n\r\n"));
        far.request();
        far.send(answer);
        client.expect(expected);
        // Nothing of a body: the next answer follows at once.
        client.send(get("/next"));
        far.request();
        far.send(ok("next"));
        client.expect("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext");
    };
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n";
    check("HEAD", length, length);
    check("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n");
    check("HEAD", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n");
    check("GET", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n");
    let preflight = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
    check("OPTIONS", preflight, preflight);
    let unmodified = "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n";
    check("GET", unmodified, unmodified);
    check("GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n");
    check(
        "POST",
        "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    );
    instance.saw_nothing();
}

#[test]
fn an_answer_that_ends_with_its_connection_becomes_chunked() {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nfirst");
    let head = client.head();
    assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
    client.expect("5\r\nfirst\r\n");
    far.send("second");
    client.expect("6\r\nsecond\r\n");
    far.close();
    client.expect("0\r\n\r\n");
    // The client's connection goes on.
    client.send(get("/next"));
    instance.accept().request();
}

#[test]
fn an_old_client_gets_an_answer_that_ends_with_its_connection_as_it_is() {
    let (_proxy, instance, mut client) = trio();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.0 200 OK\r\n\r\nfirst");
    let head = client.head();
    assert!(!head.contains("ransfer-"), "{head}");
    far.close();
    assert_eq!(client.rest(), (b"first".to_vec(), End::Fin));
}

/// The instance sends `answer` and then breaks off by `end`: the client must not take what it got for the whole.
fn check_broken(answer: &str, end: fn(Socket)) {
    for old in [false, true] {
        let (proxy, instance, mut client) = trio();
        let version = if old { "1.0" } else { "1.1" };
        client.send(format!("GET / HTTP/{version}\r\nHost: app\r\n\r\n"));
        let mut far = instance.accept();
        far.request();
        far.send(answer);
        client.head();
        end(far);
        let (body, ended) = client.rest();
        assert!(!body.ends_with(b"0\r\n\r\n"), "{version} {answer}: {}", body.escape_ascii());
        assert_eq!(ended, End::Reset, "{version} {answer}: {}", body.escape_ascii());
        proxy.counts("stickyd_requests_open", &[], 0);
    }
}

#[test]
fn an_answer_that_breaks_off_is_never_taken_for_whole() {
    const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    const CHUNK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha";
    const BETWEEN: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    const TRAILERS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n";
    for answer in [LENGTH, CHUNK, BETWEEN, TRAILERS] {
        check_broken(answer, Socket::close);
        check_broken(answer, Socket::reset);
    }
    check_broken("HTTP/1.1 200 OK\r\n\r\nhalf", Socket::reset);
}

/// The regression: the write of a request's body took the error of a reset, and the answer before it, which had no other
/// end than its connection's, passed for whole.
#[test]
fn an_answer_that_ends_with_its_connection_is_in_doubt_when_that_took_no_more_of_the_request() {
    for end in [Socket::close, Socket::reset] {
        for version in ["1.0", "1.1"] {
            let (proxy, instance, mut client) = trio();
            client.send(format!("POST / HTTP/{version}\r\nHost: app\r\nContent-Length: 10\r\n\r\n"));
            let mut far = instance.accept();
            far.head();
            far.send("HTTP/1.1 200 OK\r\n\r\n");
            // More than the client takes: the proxy does not read on, and so does not hear of the end by reading.
            far.fill_up();
            end(far);
            // An instance that closed resets at the first byte, so that the second cannot be written.
            for byte in ["b", "o"] {
                client.send(byte);
                eventually("the proxy writes it", || client.is_all_read().then_some(()));
            }
            let (answer, ended) = client.rest();
            let last = answer[answer.len().saturating_sub(20)..].escape_ascii();
            assert!(!answer.ends_with(b"0\r\n\r\n"), "{version}: {last}");
            assert_eq!(ended, End::Reset, "{version}: {last}");
            proxy.counts("stickyd_requests_open", &[], 0);
        }
    }
}

#[test]
fn an_answer_whose_body_is_not_clean_breaks_off() {
    for rubbish in ["xyz\r\n", "5\nhello\r\n", "5\r\nhelloX", "-1\r\n", "0\r\nX: y\n\r\n"] {
        let (_proxy, instance, mut client) = trio();
        client.send(get("/"));
        let mut far = instance.accept();
        far.request();
        far.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        client.head();
        client.expect("4\r\nhalf\r\n");
        far.send(rubbish);
        let (body, ended) = client.rest();
        assert!(!body.ends_with(b"0\r\n\r\n") && ended == End::Reset, "{rubbish}: {}", body.escape_ascii());
        far.is_gone();
    }
}

/// The regression: the head had been handed on when the body behind it was found to be rubbish.
#[test]
fn an_answer_that_is_rubbish_behind_its_head_becomes_a_502_while_nothing_of_it_has_gone() {
    let large = format!("4000\r\n{}\r\n", "y".repeat(0x4000));
    for good in ["", "4\r\nhalf\r\n", &large] {
        for old in [false, true] {
            let (proxy, instance, mut client) = trio();
            client.send(format!("GET / HTTP/1.{}\r\nHost: app\r\n\r\n", u8::from(!old)));
            let mut far = instance.accept();
            far.request();
            far.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{good}xyz\r\n"));
            let answer = client.answer();
            assert_eq!(answer.status(), 502, "{} behind {} bytes", answer.head, good.len());
            client.ends();
            far.is_gone();
            proxy.counts("stickyd_requests_open", &[], 0);
        }
    }
}
