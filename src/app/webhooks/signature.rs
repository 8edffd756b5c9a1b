//! How a delivery is signed, so that its receiver knows who calls, and that nobody has it said again later.
//!
//! `Stickyd-Signature: t=SECONDS,v1=HEX`: the seconds since the epoch when it was sent, and HMAC-SHA256 over those digits, a dot, and
//! the body as it came. The key is the secret that the webhook's registration was answered, as text (`whsec_...`, all of it). The
//! receiver computes it over the bytes that it got, compares in constant time, and refuses what is older than some minutes.
//!
//! Pure. Must not: know what time it is.

use std::fmt::Write;

use aws_lc_rs::hmac;

/// The field's value.
pub fn signature(secret: &str, seconds: u64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut mac = hmac::Context::with_key(&key);
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let mut value = format!("t={seconds},v1=");
    for byte in mac.sign().as_ref() {
        // Writing to a string does not fail.
        let _ = write!(value, "{byte:02x}");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_another_program_computes() {
        // Python's hmac.
        assert_eq!(
            signature("whsec_abc", 1_700_000_000, r#"{"a":"Zoë"}"#.as_bytes()),
            "t=1700000000,v1=88fb0129a26d1bc94c92c9913614d613ece16ebdcdd0f8009ef06fab2d4e2f9c"
        );
    }
}
