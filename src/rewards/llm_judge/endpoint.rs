//! An OpenAI-compatible chat endpoint: one request, asked again while it is the service's fault.

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{Response, StatusCode, Uri};

use super::{LlmJudgeConfig, key};
use crate::error::{Error, Result};

/// Longest body of a response that is read, in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Longest wait between two attempts, in seconds.
const MAX_WAIT_SECONDS: f64 = 60.0;

/// Most characters of a refusal that a message repeats.
const SHOWN_CHARACTERS: usize = 200;

/// Where a judge is asked.
pub(super) struct Endpoint {
    agent: Agent,
    url: String,
    /// The `Authorization` header.
    authorization: Option<String>,
    attempts: usize,
    backoff_seconds: f64,
}

/// A reply and after how many attempts it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub content: String,
    pub attempts: usize,
}

/// Why an attempt gave no reply.
enum Failure {
    /// May pass; the service may say after how many seconds.
    Passing(String, Option<f64>),
    /// Would come again.
    Lasting(String),
}

impl Endpoint {
    /// The endpoint of `config`; reads the key from the environment.
    ///
    /// # Errors
    /// When the variable is not set; the setting is named.
    pub(super) fn open(name: &str, config: &LlmJudgeConfig) -> Result<Self> {
        let authorization = match &config.api_key_env {
            Some(variable) => {
                let key = std::env::var(variable).map_err(|_| {
                    let problem = format!("the environment variable `{variable}` is not set");
                    Error::setting(key(name, "api_key_env"), problem)
                })?;
                Some(format!("Bearer {}", key.trim()))
            }
            None => None,
        };
        let settings = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs_f64(config.timeout_seconds)))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("emberl/", env!("CARGO_PKG_VERSION")));
        Ok(Self {
            agent: settings.build().into(),
            url: chat_url(&config.url),
            authorization,
            attempts: config.attempts,
            backoff_seconds: config.backoff_seconds,
        })
    }

    /// What the endpoint replies to `request`.
    ///
    /// # Errors
    /// Why it gave none, in words.
    pub(super) fn ask(&self, request: &Value) -> Result<Reply, String> {
        let body = request.to_string();
        let mut attempt = 1;
        loop {
            let (problem, wait) = match self.attempt(&body) {
                Ok(content) => {
                    return Ok(Reply {
                        content,
                        attempts: attempt,
                    });
                }
                Err(Failure::Lasting(problem)) => return Err(problem),
                Err(Failure::Passing(problem, wait)) => (problem, wait),
            };
            if attempt >= self.attempts {
                return Err(format!("{problem} (attempt {attempt} of {attempt})"));
            }
            tracing::warn!(attempt, problem, "the judge did not reply, asking again");
            std::thread::sleep(self.wait(attempt, wait));
            attempt += 1;
        }
    }

    /// The wait after an attempt, counted from 1: what the service asks for, else twice as long each time.
    fn wait(&self, attempt: usize, asked: Option<f64>) -> Duration {
        let doublings = i32::try_from(attempt - 1).unwrap_or(i32::MAX);
        let own = self.backoff_seconds * 2.0_f64.powi(doublings);
        Duration::from_secs_f64(asked.unwrap_or(own).clamp(0.0, MAX_WAIT_SECONDS))
    }

    fn attempt(&self, body: &str) -> Result<String, Failure> {
        let mut request = self.agent.post(&self.url);
        request = request.header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.send(body.as_bytes()).map_err(transport)?;
        let status = response.status();
        let wait = asked_wait(&response);
        let bytes = read(response)?;
        if status.is_success() {
            return content(&bytes).map_err(Failure::Lasting);
        }
        let text: String = String::from_utf8_lossy(&bytes)
            .chars()
            .take(SHOWN_CHARACTERS)
            .collect();
        let problem = format!("status {}: {}", status.as_u16(), text.trim().escape_debug());
        let passes = status.is_server_error()
            || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
        Err(match passes {
            true => Failure::Passing(problem, wait),
            false => Failure::Lasting(problem),
        })
    }
}

/// What a chat endpoint is sent: one message, answered greedily.
pub(super) fn request(config: &LlmJudgeConfig, prompt: &str) -> Value {
    json!({
        "model": config.model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": config.max_tokens,
    })
}

/// Whether `url` can be asked.
pub(super) fn is_web_address(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty())
}

/// The endpoint of a service's address, which may be that of its API.
fn chat_url(url: &str) -> String {
    let url = url.trim_end_matches('/');
    match url.ends_with("/chat/completions") {
        true => url.to_owned(),
        false => format!("{url}/chat/completions"),
    }
}

fn transport(error: ureq::Error) -> Failure {
    let problem = error.to_string();
    match error {
        ureq::Error::Timeout(_)
        | ureq::Error::Io(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::HostNotFound
        | ureq::Error::Protocol(_) => Failure::Passing(problem, None),
        _ => Failure::Lasting(problem),
    }
}

/// The seconds of `Retry-After`, if it says seconds.
fn asked_wait<B>(response: &Response<B>) -> Option<f64> {
    let value = response.headers().get("retry-after")?.to_str().ok()?;
    let seconds: f64 = value.trim().parse().ok()?;
    seconds.is_finite().then_some(seconds)
}

/// The body, if it is not longer than is read.
fn read(response: Response<ureq::Body>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut reader = response
        .into_body()
        .into_reader()
        .take(MAX_BODY_BYTES as u64 + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Passing(error.to_string(), None))?;
    match bytes.len() > MAX_BODY_BYTES {
        true => {
            let problem = format!("the response is longer than {MAX_BODY_BYTES} bytes");
            Err(Failure::Lasting(problem))
        }
        false => Ok(bytes),
    }
}

/// The text of the first choice.
fn content(body: &[u8]) -> Result<String, String> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| format!("the response is not JSON: {error}"))?;
    let content = body.pointer("/choices/0/message/content");
    let content = content.and_then(Value::as_str);
    content
        .map(str::to_owned)
        .ok_or_else(|| "the response has no `choices[0].message.content`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_a_service_or_of_its_endpoint() {
        for (url, expected) in [
            ("http://h:1/v1", "http://h:1/v1/chat/completions"),
            ("https://h/v1/", "https://h/v1/chat/completions"),
            ("https://h/chat/completions", "https://h/chat/completions"),
        ] {
            assert!(is_web_address(url), "{url}");
            assert_eq!(chat_url(url), expected);
        }
        for url in [
            "",
            "h/v1",
            "file:///etc/passwd",
            "ftp://h",
            "http://",
            "https://a b",
        ] {
            assert!(!is_web_address(url), "{url}");
        }
    }

    #[test]
    fn only_a_text_of_the_first_choice_is_a_reply() {
        let body = br#"{"choices": [{"message": {"role": "assistant", "content": "yes"}}]}"#;
        assert_eq!(content(body), Ok("yes".into()));
        for body in [
            &b"<html>"[..],
            b"{}",
            br#"{"choices": []}"#,
            br#"{"choices": [{"message": {"content": null}}]}"#,
            b"\xff",
        ] {
            assert!(content(body).is_err());
        }
    }
}
