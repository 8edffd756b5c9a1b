use rcgen::{CertificateParams, KeyPair};

use super::*;

/// A certificate for these names and its key, as files have them.
fn files(names: &[&str]) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    (CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn what_is_wrong_is_said_and_of_which_file() {
    let ((chain, key), (other, _)) = (files(&["app.example.com"]), files(&["app.example.com"]));
    let check = |chain: &str, key: &str, part: Part, says: &str| {
        let (found, why) = pair(chain.as_bytes(), key.as_bytes(), Path::new("/c.pem")).unwrap_err();
        assert_eq!(found, part, "{why}");
        assert!(why.contains(says), "{why}");
    };
    check("", &key, Part::Certificate, "no certificate");
    check(&key, &key, Part::Certificate, "no certificate");
    check(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        &key,
        Part::Certificate,
        "cannot be read",
    );
    check("-----BEGIN CERTIFICATE-----\nAAAA\n", &key, Part::Certificate, "");
    check(&chain, "", Part::Key, "no private key");
    check(&chain, &chain, Part::Key, "no private key");
    check(&other, &key, Part::Key, "not the key of the certificate in /c.pem");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    check(&chain, encrypted, Part::Key, "encrypted");
    check(&chain, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", Part::Key, "");
    // Both in one file, in any order.
    let both = format!("{key}{chain}");
    assert!(pair(both.as_bytes(), both.as_bytes(), Path::new("/x.pem")).is_ok());
}
