//! What a judge was asked and replied: a log from which a resumed run takes its answers.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::endpoint::Reply;
use super::verdict::{MAX_REPLY_BYTES, verdict};
use crate::error::Result;
use crate::files::{self, JsonlAppender};

/// Names a request: the SHA-256 of its JSON, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RequestHash(String);

impl RequestHash {
    /// The name of a request to `url`.
    pub(super) fn of(url: &str, request: &Value) -> Self {
        let digest = digest(&SHA256, format!("{url}\n{request}").as_bytes());
        let mut digits = String::with_capacity(2 * digest.as_ref().len());
        for byte in digest.as_ref() {
            write!(digits, "{byte:02x}").expect("a string takes text");
        }
        Self(digits)
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    request: RequestHash,
    /// The reply; of one that is too long to be read a beginning that is too.
    response: String,
    /// The score in it, for those who look; none if it has no verdict.
    verdict: Option<f64>,
    attempts: usize,
}

/// The requests that were answered.
pub(super) struct Transcript {
    verdicts: HashMap<RequestHash, Option<f64>>,
    log: JsonlAppender,
}

impl Transcript {
    /// Reads what the log at `path` has, if it is there, and goes on with it.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a line of it is no such entry.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let log = JsonlAppender::extend(path)?;
        let entries: Vec<Entry> = files::read_log(path)?;
        let entries = entries.into_iter();
        Ok(Self {
            verdicts: entries
                .map(|entry| (entry.request, verdict(&entry.response)))
                .collect(),
            log,
        })
    }

    /// The verdict on a request that was answered; `Some(None)` if the reply had none.
    pub(super) fn verdict(&self, request: &RequestHash) -> Option<Option<f64>> {
        self.verdicts.get(request).copied()
    }

    /// Notes a reply, so that it outlives this process.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn note(&mut self, request: &RequestHash, reply: &Reply) -> Result<()> {
        let kept = reply.content.ceil_char_boundary(MAX_REPLY_BYTES + 1);
        let entry = Entry {
            request: request.clone(),
            response: reply.content[..kept].to_owned(),
            verdict: verdict(&reply.content),
            attempts: reply.attempts,
        };
        self.log.append(&entry)?;
        self.log.flush()?;
        self.verdicts.insert(entry.request, entry.verdict);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(content: &str) -> Reply {
        Reply {
            content: content.into(),
            attempts: 2,
        }
    }

    #[test]
    fn a_request_is_named_by_where_and_what_is_asked() {
        let name = |url: &str, request: &Value| RequestHash::of(url, request).0;
        // printf 'u\n{"a":1}' | sha256sum
        let expected = "31d73251e2063dc85e2d11133af705845aec8007286f700d3489bab029c10c97";
        assert_eq!(name("u", &json!({"a": 1})), expected);
        assert_ne!(name("v", &json!({"a": 1})), expected);
    }

    #[test]
    fn a_log_cut_in_the_middle_of_a_line_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("judge.jsonl");
        let hash = |n: u32| RequestHash::of("u", &json!(n));
        let mut transcript = Transcript::open(&path).unwrap();
        transcript
            .note(&hash(1), &reply(r#"{"correctness": "correct"}"#))
            .unwrap();
        transcript.note(&hash(2), &reply("maybe")).unwrap();
        drop(transcript);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"request\": \"ab");
        std::fs::write(&path, text).unwrap();
        let mut transcript = Transcript::open(&path).unwrap();
        let long = format!("{{\"correctness\": true}}{}", "é".repeat(MAX_REPLY_BYTES));
        assert_eq!(transcript.verdict(&hash(1)), Some(Some(1.0)));
        assert_eq!(transcript.verdict(&hash(2)), Some(None));
        assert_eq!(transcript.verdict(&hash(3)), None);
        transcript.note(&hash(3), &reply(&long)).unwrap();
        drop(transcript);
        let transcript = Transcript::open(&path).unwrap();
        assert_eq!(transcript.verdict(&hash(3)), Some(None));
        let entries: Vec<Entry> = files::read_log(&path).unwrap();
        assert_eq!(
            (entries.len(), entries[2].response.len()),
            (3, MAX_REPLY_BYTES + 1)
        );
    }
}
