use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

use super::*;
use crate::certificates::of_pem;

fn of(names: &[&str]) -> Pair {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    of_pem(&CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem(), &key.serialize_pem())
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
        of_pem(&chain, &key.serialize_pem())
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
