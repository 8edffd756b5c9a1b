//! The values of `tls`, of listeners and of upstreams.

use std::path::PathBuf;

use super::super::super::model::{Certificate, InstanceTls, ListenTls};
use super::quoted;

/// Of a listener.
pub(super) fn listen_tls(tls: &ListenTls) -> String {
    let ListenTls { certificates, client_ca } = tls;
    let certificate = |Certificate { cert, key }: &Certificate| {
        let mut keys = vec![("cert", Some(cert)), ("key", Some(key).filter(|key| *key != cert))];
        keys.push(("client_ca", client_ca.as_ref()));
        let keys: Vec<String> = keys
            .into_iter()
            .filter_map(|(key, path)| Some(format!("{key} = {}", quoted(&path?.display().to_string()))))
            .collect();
        format!("{{ {} }}", keys.join(", "))
    };
    let all: Vec<String> = certificates.iter().map(certificate).collect();
    if let [only] = all.as_slice() { only.clone() } else { format!("[{}]", all.join(", ")) }
}

/// Of an upstream.
pub(super) fn instance_tls(tls: &InstanceTls) -> String {
    let InstanceTls { ca, sni, client } = tls;
    let path = |path: &PathBuf| path.display().to_string();
    let client = client.as_ref();
    let keys = [
        ("ca", ca.as_ref().map(path)),
        ("sni", sni.clone()),
        ("client_cert", client.map(|Certificate { cert, key: _ }| path(cert))),
        ("client_key", client.filter(|client| client.key != client.cert).map(|client| path(&client.key))),
    ];
    let keys: Vec<String> =
        keys.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}", quoted(&value?)))).collect();
    if keys.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", keys.join(", ")) }
}
