use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

use super::*;

/// A certificate for these names and its key, as files have them.
fn files(names: &[&str]) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    (CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn of(names: &[&str]) -> Pair {
    let (chain, key) = files(names);
    pair(chain.as_bytes(), key.as_bytes(), Path::new("/x.pem")).unwrap()
}

#[test]
fn the_name_that_is_asked_for_chooses() {
    let choice = Choice::of(vec![
        of(&["default.example.com"]),
        of(&["*.example.com", "example.com"]),
        of(&["app.example.com", "API.Example.com"]),
        of(&["*.deep.example.com"]),
        of(&[]),
    ]);
    let check = |asked: Option<&str>, expected: usize| {
        let chosen = choice.choose(asked, |_| true);
        assert!(Arc::ptr_eq(&chosen.key, &choice.pairs[expected].key), "{asked:?}: {:?}", chosen.facts.names);
    };
    check(None, 0);
    check(Some("default.example.com"), 0);
    check(Some("app.example.com"), 2);
    check(Some("api.example.com"), 2);
    check(Some("api.example.com."), 2);
    check(Some("other.example.com"), 1);
    check(Some("example.com"), 1);
    check(Some("a.deep.example.com"), 3);
    check(Some("deep.example.com"), 1);
    // A wildcard is one label, and a name of nobody gets the default.
    check(Some("a.b.example.com"), 0);
    check(Some(".example.com"), 0);
    check(Some("nobody.example.org"), 0);
    check(Some("*.example.com"), 1);
}

#[test]
fn of_two_for_one_name_the_one_that_the_client_understands() {
    let of = |algorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["app.example.com".to_owned()]).unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        pair(chain.as_bytes(), key.serialize_pem().as_bytes(), Path::new("/x.pem")).unwrap()
    };
    let choice = Choice::of(vec![of(&PKCS_ED25519), of(&PKCS_ECDSA_P256_SHA256)]);
    let check = |asked, offered: &[SignatureScheme], expected: usize| {
        let signs = |pair: &Pair| pair.key.key.choose_scheme(offered).is_some();
        assert!(Arc::ptr_eq(&choice.choose(asked, signs).key, &choice.pairs[expected].key), "{offered:?}");
    };
    for asked in [Some("app.example.com"), None, Some("nobody.example.org")] {
        check(asked, &[SignatureScheme::ECDSA_NISTP256_SHA256], 1);
        check(asked, &[SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256], 0);
        check(asked, &[SignatureScheme::RSA_PKCS1_SHA256], 0);
    }
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
    check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, Part::Certificate, "cannot be read");
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
