//! Random names and moments.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Six characters, as Node's adapter names itself and its requests: to tell some thousands apart, not secret.
pub(super) fn id() -> String {
    let mut bytes = [0; 6];
    rand::fill(&mut bytes).expect("the system has randomness");
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect()
}

/// So many bytes that nobody guesses, as text.
pub(super) fn secret(count: usize) -> String {
    let mut bytes = vec![0; count];
    rand::fill(&mut bytes).expect("the system has randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A number from 0 to 1, so that not all do the same at once.
pub(super) fn fraction() -> f64 {
    let mut bytes = [0; 4];
    rand::fill(&mut bytes).expect("the system has randomness");
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 6));
    }
}
