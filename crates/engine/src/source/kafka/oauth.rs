//! Unsecured OAUTHBEARER tokens (RFC 7515 appendix A.5), which only brokers in tests accept.

use super::ffi::Native;
use std::time::{SystemTime, UNIX_EPOCH};

const LIFETIME_SECONDS: u64 = 3600;

/// Hands a token to a client that wants one. The principal comes from its own configuration.
pub(super) fn answer(native: &Native) {
    let Some(principal) = native.token_principal() else {
        native.refuse_token("no principal is configured, and this build cannot fetch tokens");
        return;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let until = now + LIFETIME_SECONDS;
    let until_ms = i64::try_from(until * 1000).unwrap_or(i64::MAX);
    if let Err(why) = native.set_token(&token(&principal, now, until), &principal, until_ms) {
        native.refuse_token(&why);
    }
}

fn token(principal: &str, from: u64, until: u64) -> String {
    let claims = serde_json::json!({ "sub": principal, "iat": from, "exp": until });
    format!("{}.{}.", base64_url(br#"{"alg":"none"}"#), base64_url(claims.to_string().as_bytes()))
}

fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_url_alphabet_without_padding() {
        for (plain, coded) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("fooba", "Zm9vYmE"), ("??>", "Pz8-")]
        {
            assert_eq!(base64_url(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_token_has_three_parts_and_no_signature() {
        let token = token("admin", 1, 2);
        assert_eq!(token.split('.').count(), 3);
        assert!(token.ends_with('.'));
    }
}
