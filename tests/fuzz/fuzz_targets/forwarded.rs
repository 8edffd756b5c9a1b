//! `X-Forwarded-For`, `Forwarded` and `X-Forwarded-Proto` of any bytes, one field a line: nothing panics, an untrusted peer is never
//! overruled, a trusted one never resolves to anything but itself or an address that stands in the fields, and what a proxy
//! appends in a field of its own wins over whatever the client sent.
#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use stickyd::config::model::ClientIpHeader;
use stickyd::listener::client_address::{HOPS_MAX, Peer, resolve, scheme};

static TRUSTED: LazyLock<Vec<ipnet::IpNet>> =
    LazyLock::new(|| vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);

fuzz_target!(|data: &[u8]| {
    let fields = || data.split(|byte| *byte == b'\n');
    let proxy: IpAddr = [10, 0, 0, 1].into();
    let stranger: IpAddr = [192, 0, 2, 1].into();
    for (header, appended) in [
        (ClientIpHeader::XForwardedFor, &b"192.0.2.7"[..]),
        (ClientIpHeader::Forwarded, &b"for=192.0.2.7;proto=https"[..]),
    ] {
        let untrusted = resolve(Peer::Ip(stranger), header, fields(), &TRUSTED);
        assert_eq!((untrusted.address, untrusted.hops), (stranger, 0));
        assert_eq!(scheme(&untrusted, header, fields()), None);

        for peer in [Peer::Ip(proxy), Peer::Unix] {
            let resolved = resolve(peer, header, fields(), &TRUSTED);
            assert!(resolved.peer_trusted && resolved.hops <= HOPS_MAX);
            assert_eq!(resolved.address, resolved.address.to_canonical());
            let _ = scheme(&resolved, header, fields());
        }

        let with_word = || data.split(|byte| *byte == b'\n').chain([appended]);
        let resolved = resolve(Peer::Ip(proxy), header, with_word(), &TRUSTED);
        assert_eq!((resolved.address, resolved.hops), ([192, 0, 2, 7].into(), 1));
    }
});
