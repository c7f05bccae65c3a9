//! Messages as HTTP requests.

use super::channel::{Channel, Deliver, Message, Undelivered};
use futures_util::future::LocalBoxFuture;
use std::time::{Duration, SystemTime};
use ureq::Agent;

/// A header value longer than this, or with bytes that a header cannot have, is replaced by its hash.
const KEY_BYTES_MAX: usize = 255;
/// So much of an answer is quoted as the reason.
const REASON_BYTES_MAX: u64 = 300;

/// A channel that POSTs each message as JSON, with its idempotency key in the header `Idempotency-Key`.
///
/// 2xx is delivered. 408, 409, 425, 429, 5xx, a lost connection and no answer are tried again, not before `Retry-After` where the answer
/// has one. Everything else refuses the message for good; redirects are not followed. Whoever receives it has to drop a key that it has
/// seen: a message whose answer was lost comes again.
#[derive(Clone, Debug)]
pub struct Http {
    url: String,
    headers: Vec<(String, String)>,
}

impl Http {
    /// `http://…` or `https://…`.
    pub fn post(url: impl Into<String>) -> Self {
        Self { url: url.into(), headers: Vec::new() }
    }

    /// One more header; its value is never shown.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// See [`Channel::attempts`].
    pub fn attempts(self, attempts: u32) -> Channel {
        Channel::from(self).attempts(attempts)
    }

    /// See [`Channel::timeout`].
    pub fn timeout(self, timeout: Duration) -> Channel {
        Channel::from(self).timeout(timeout)
    }

    /// See [`Channel::back_off`].
    pub fn back_off(self, back_off: Duration) -> Channel {
        Channel::from(self).back_off(back_off)
    }

    fn mistake(&self) -> Option<String> {
        let request = self
            .headers
            .iter()
            .fold(ureq::http::Request::post(&self.url), |request, (name, value)| request.header(name, value));
        match request.body(()) {
            Err(error) => Some(format!("'{}' or one of its headers is not valid: {error}", self.url)),
            Ok(request) => match request.uri().scheme_str() {
                Some("http" | "https") => None,
                _ => Some(format!("'{}' is no http:// or https:// address", self.url)),
            },
        }
    }
}

impl From<Http> for Channel {
    fn from(http: Http) -> Self {
        let mistake = http.mistake();
        let config =
            Agent::config_builder().http_status_as_error(false).max_redirects(0).max_redirects_will_error(false);
        let agent = config.user_agent(concat!("onceflow/", env!("CARGO_PKG_VERSION"))).build().new_agent();
        Self { mistake, ..Channel::new(Posting { http, agent }) }
    }
}

struct Posting {
    http: Http,
    agent: Agent,
}

impl Deliver for Posting {
    fn deliver<'a>(&'a self, message: &'a Message) -> LocalBoxFuture<'a, Result<(), Undelivered>> {
        let (http, agent, message) = (self.http.clone(), self.agent.clone(), message.clone());
        Box::pin(async move {
            let posted = tokio::task::spawn_blocking(move || post(&agent, &http, &message)).await;
            posted.unwrap_or_else(|error| Err(Undelivered::Later(error.to_string(), None)))
        })
    }
}

fn post(agent: &Agent, http: &Http, message: &Message) -> Result<(), Undelivered> {
    let mut request = agent.post(&http.url).header("content-type", "application/json");
    request = request.header("idempotency-key", header_value(message.idempotency_key()));
    for (name, value) in &http.headers {
        request = request.header(name, value);
    }
    let mut answer = match request.send(message.body()) {
        Ok(answer) => answer,
        Err(error) => return Err(Undelivered::Later(error.to_string(), None)),
    };
    let status = answer.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(());
    }
    let wait = answer.headers().get("retry-after").and_then(|value| wait(value.to_str().ok()?));
    let mut said = String::new();
    let limited = answer.body_mut().with_config().limit(REASON_BYTES_MAX).reader();
    // What cannot be read of it is no reason to think otherwise of the answer.
    let _ = std::io::Read::read_to_string(&mut std::io::BufReader::new(limited), &mut said);
    let reason = format!("HTTP {status} {}", said.trim()).trim_end().to_owned();
    Err(match status {
        408 | 409 | 425 | 429 | 500.. => Undelivered::Later(reason, wait),
        _ => Undelivered::Never(reason),
    })
}

/// Seconds, or a date.
fn wait(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = chrono::DateTime::parse_from_rfc2822(value.trim()).ok()?;
    SystemTime::from(moment).duration_since(SystemTime::now()).ok()
}

/// The key as it stands where a header can hold it.
fn header_value(key: &str) -> String {
    match key.len() <= KEY_BYTES_MAX && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => key.to_owned(),
        false => format!("xxh3-{:032x}", xxhash_rust::xxh3::xxh3_128(key.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_found_before_anything_runs() {
        let mistake = |http: Http| Channel::from(http).mistake;
        assert_eq!(mistake(Http::post("http://localhost:1/hook").header("x-token", "t")), None);
        assert!(mistake(Http::post("localhost:1/hook")).is_some());
        assert!(mistake(Http::post("ftp://localhost/hook")).is_some());
        assert!(mistake(Http::post("http://localhost/").header("bad name", "t")).is_some());
    }

    #[test]
    fn a_key_that_no_header_can_hold_is_hashed() {
        assert_eq!(header_value("p/orders/0/7/mail/0"), "p/orders/0/7/mail/0");
        assert!(header_value("p/bücher/0/7/mail/0").starts_with("xxh3-"));
        assert_eq!(header_value(&"x".repeat(300)).len(), 37);
    }

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert!(wait("Wed, 21 Oct 2099 07:28:00 GMT").is_some());
        assert_eq!(wait("soon"), None);
    }
}
