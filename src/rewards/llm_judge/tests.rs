//! The judge against a service on this machine that behaves and misbehaves.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::data::{Problem, Prompt};

/// A change of settings.
type Change = fn(&mut LlmJudgeConfig);

/// What the service does with a connection, the request's body given.
#[derive(Clone)]
enum Act {
    /// Answers with a status, headers and a body.
    Answer(u16, &'static str, String),
    /// Says `correct` if the answer is 2, else `incorrect`.
    Judge,
    /// Says nothing until the other side hangs up.
    Stall,
    /// Sends without end.
    Flood,
    /// Hangs up.
    HangUp,
}

/// A service whose connections meet `acts` in turn, the last again and again.
struct Host {
    url: String,
    bodies: Arc<Mutex<Vec<(String, String)>>>,
    at_once: Arc<AtOnce>,
}

/// Judgements that are on their way.
#[derive(Default)]
struct AtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl AtOnce {
    fn add(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn remove(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Host {
    fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let at_once = Arc::new(AtOnce::default());
        let (seen, judged) = (bodies.clone(), at_once.clone());
        std::thread::spawn(move || {
            for (index, stream) in listener.incoming().enumerate() {
                let act = acts[index.min(acts.len() - 1)].clone();
                let (seen, judged) = (seen.clone(), judged.clone());
                std::thread::spawn(move || {
                    // The client may hang up at any time.
                    let _ = serve(&stream.unwrap(), &act, &seen, &judged);
                });
            }
        });
        Self {
            url,
            bodies,
            at_once,
        }
    }

    fn asked(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }
}

fn serve(
    stream: &TcpStream,
    act: &Act,
    seen: &Mutex<Vec<(String, String)>>,
    at_once: &AtOnce,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8(body).unwrap();
    seen.lock().unwrap().push((head, body.clone()));
    let mut writer = stream;
    match act {
        Act::HangUp => Ok(()),
        Act::Stall => reader.read(&mut [0]).map(drop),
        Act::Answer(status, headers, text) => {
            let length = text.len();
            write!(
                writer,
                "HTTP/1.1 {status} X\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{text}"
            )
        }
        Act::Judge => {
            at_once.add();
            std::thread::sleep(Duration::from_millis(20));
            // The client asks anew as soon as it has its answer.
            at_once.remove();
            let is_right = body.contains("<answer>\\n2\\n</answer>");
            let word = if is_right { "correct" } else { "incorrect" };
            let text = reply(&format!(
                "{{\"analysis\": \"x\", \"correctness\": \"{word}\"}}"
            ));
            let length = text.len();
            write!(
                writer,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}"
            )
        }
        Act::Flood => {
            write!(writer, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                writer.write_all(&[b'x'; 65_536])?;
            }
        }
    }
}

/// A response with this reply.
fn reply(content: &str) -> String {
    json!({"choices": [{"message": {"role": "assistant", "content": content}}]}).to_string()
}

fn config(url: &str) -> LlmJudgeConfig {
    let settings = json!({
        "url": url, "model": "m", "timeout_seconds": 5.0, "attempts": 3, "backoff_seconds": 0.01,
    });
    serde_json::from_value(settings).unwrap()
}

fn judge(config: &LlmJudgeConfig, folder: &Path) -> LlmJudge {
    let context = RewardContext {
        folder: Some(folder),
        ..RewardContext::default()
    };
    LlmJudge::new("llm_judge", config, &context).unwrap()
}

fn problem(answer: Value) -> Problem {
    Problem {
        prompt: Prompt::Text("1+1=?".into()),
        answer,
        level: None,
        language: None,
        part: None,
    }
}

/// What the judge says of each completion of a problem whose answer is 2.
fn scores(judge: &LlmJudge, completions: &[&str]) -> Vec<Result<Option<f64>, String>> {
    let problem = problem(json!("2"));
    let attempts: Vec<Attempt<'_>> = completions
        .iter()
        .map(|completion| Attempt {
            problem: &problem,
            completion,
            token_ids: &[],
            finished: true,
        })
        .collect();
    let scores = judge.score_group(&attempts).into_iter();
    scores
        .map(|score| score.map_err(|error| error.to_string()))
        .collect()
}

/// The failure of one completion's judgement, and how often the service was asked.
fn failure(acts: Vec<Act>, change: impl FnOnce(&mut LlmJudgeConfig)) -> (String, usize) {
    let (host, folder) = (Host::start(acts), tempfile::tempdir().unwrap());
    let mut config = config(&host.url);
    change(&mut config);
    let scores = scores(&judge(&config, folder.path()), &["2"]);
    (scores[0].clone().unwrap_err(), host.asked())
}

#[test]
fn answers_are_judged_at_once_and_each_is_asked_about_once() {
    let (host, folder) = (Host::start(vec![Act::Judge]), tempfile::tempdir().unwrap());
    let mut config = config(&host.url);
    config.concurrency = 3;
    let completions = [
        "<think>3</think><answer>2</answer>",
        "<answer>3</answer>",
        "2",
        "4",
        "5",
        "6",
    ];
    let expected = [1.0, 0.0, 1.0, 0.0, 0.0, 0.0].map(|score| Ok(Some(score)));
    let first = judge(&config, folder.path());
    assert_eq!(scores(&first, &completions), expected);
    // The first and the third have the same answer.
    assert_eq!(host.asked(), 5);
    let most = host.at_once.most.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most} at once");
    // A resumed run takes what was said.
    drop(first);
    let resumed = judge(&config, folder.path());
    assert_eq!(scores(&resumed, &completions), expected);
    assert_eq!(host.asked(), 5);
    let transcript = folder.path().join("judge-llm_judge.jsonl");
    let transcript = std::fs::read_to_string(transcript).unwrap();
    assert_eq!(transcript.lines().count(), 5);
}

#[test]
fn the_request_is_that_of_a_chat_service_with_the_key_from_the_environment() {
    let (host, folder) = (Host::start(vec![Act::Judge]), tempfile::tempdir().unwrap());
    let mut config = config(&host.url);
    // Every process has it.
    config.api_key_env = Some("PATH".into());
    assert_eq!(
        scores(&judge(&config, folder.path()), &["2"]),
        [Ok(Some(1.0))]
    );
    let (head, body) = host.bodies.lock().unwrap()[0].clone();
    assert!(
        head.starts_with("POST /v1/chat/completions HTTP/1.1"),
        "{head}"
    );
    let key = format!("authorization: bearer {}", std::env::var("PATH").unwrap());
    assert!(head.to_lowercase().contains(&key.to_lowercase()), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&body["model"], &body["temperature"]),
        (&json!("m"), &json!(0))
    );
    let prompt = body["messages"][0]["content"].as_str().unwrap();
    assert!(
        prompt.contains("<question>\n1+1=?\n</question>"),
        "{prompt}"
    );
    let written = std::fs::read_to_string(folder.path().join("judge-llm_judge.jsonl")).unwrap();
    assert!(!written.contains(&std::env::var("PATH").unwrap()));
}

#[test]
fn a_busy_service_is_asked_again() {
    let busy = Act::Answer(429, "retry-after: 0\r\n", String::new());
    let broken = Act::Answer(503, "", "overloaded".into());
    let (host, folder) = (
        Host::start(vec![busy, broken, Act::Judge]),
        tempfile::tempdir().unwrap(),
    );
    let judge = judge(&config(&host.url), folder.path());
    assert_eq!(scores(&judge, &["2"]), [Ok(Some(1.0))]);
    assert_eq!(host.asked(), 3);
    let line = std::fs::read_to_string(folder.path().join("judge-llm_judge.jsonl")).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["attempts"], &line["verdict"]),
        (&json!(3), &json!(1.0))
    );
}

#[test]
fn a_service_that_stays_away_is_an_error_and_not_a_verdict() {
    let (problem, asked) = failure(vec![Act::HangUp], |_| ());
    assert!(problem.contains("(attempt 3 of 3)"), "{problem}");
    assert_eq!(asked, 3);
    let busy = Act::Answer(500, "", "down\n".into());
    let (problem, _) = failure(vec![busy], |_| ());
    let expected = "reward `llm_judge`: status 500: down (attempt 3 of 3)";
    assert_eq!(problem, expected);
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (problem, asked) = failure(vec![Act::Judge], |config| {
        config.url = format!("http://{nobody}/v1");
    });
    assert!(problem.contains("(attempt 3 of 3)"), "{problem}");
    assert_eq!(asked, 0);
}

#[test]
fn a_service_that_speaks_no_tls_is_an_error_where_tls_is_asked_for() {
    let (host, folder) = (Host::start(vec![Act::Judge]), tempfile::tempdir().unwrap());
    let config = config(&host.url.replace("http://", "https://"));
    let problem = scores(&judge(&config, folder.path()), &["2"])[0].clone();
    let problem = problem.unwrap_err();
    assert!(problem.starts_with("reward `llm_judge`: "), "{problem}");
    assert_eq!(host.asked(), 0);
}

#[test]
fn a_silent_service_is_given_up_in_time() {
    let started = Instant::now();
    let (problem, asked) = failure(vec![Act::Stall], |config| {
        config.timeout_seconds = 0.2;
        config.attempts = 2;
    });
    assert!(problem.contains("timeout"), "{problem}");
    assert_eq!(asked, 2);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_refusal_is_not_asked_again_and_its_text_is_bounded() {
    let refusal = Act::Answer(401, "", format!("\u{1b}[31mno{}", "!".repeat(10_000)));
    let (problem, asked) = failure(vec![refusal], |_| ());
    assert!(problem.contains("status 401: \\u{1b}[31mno!"), "{problem}");
    assert!(problem.len() < 400, "{problem}");
    assert_eq!(asked, 1);
    // Nor is another host asked.
    let elsewhere = Act::Answer(302, "location: http://127.0.0.1:1/\r\n", String::new());
    let (problem, asked) = failure(vec![elsewhere], |_| ());
    assert!(problem.contains("status 302"), "{problem}");
    assert_eq!(asked, 1);
}

#[test]
fn garbage_and_floods_are_errors() {
    for (text, complaint) in [
        ("<html>".to_owned(), "the response is not JSON"),
        ("{}".to_owned(), "no `choices[0].message.content`"),
        (reply("I cannot say."), "no verdict, or several"),
    ] {
        let (problem, asked) = failure(vec![Act::Answer(200, "", text)], |_| ());
        assert!(problem.contains(complaint), "{problem}");
        assert_eq!(asked, 1);
    }
    let (problem, _) = failure(vec![Act::Flood], |_| ());
    assert!(problem.contains("longer than 1048576 bytes"), "{problem}");
}

#[test]
fn a_reply_without_verdict_is_remembered_too() {
    let vague = Act::Answer(200, "", reply("Hm."));
    let (host, folder) = (
        Host::start(vec![vague, Act::Judge]),
        tempfile::tempdir().unwrap(),
    );
    for _ in 0..2 {
        let judge = judge(&config(&host.url), folder.path());
        assert!(scores(&judge, &["2"])[0].is_err());
        assert_eq!(host.asked(), 1);
    }
}

#[test]
fn a_problem_without_reference_is_not_judged() {
    let (host, folder) = (Host::start(vec![Act::Judge]), tempfile::tempdir().unwrap());
    let judge = judge(&config(&host.url), folder.path());
    let problem = problem(Value::Null);
    let score = judge.score(&Attempt {
        problem: &problem,
        completion: "2",
        token_ids: &[],
        finished: true,
    });
    assert_eq!(score.unwrap(), None);
    assert_eq!(host.asked(), 0);
}

#[test]
fn settings_are_checked_without_a_service() {
    let context = RewardContext::default();
    let fault = |change: Change| {
        let mut config = config("https://example.org/v1");
        change(&mut config);
        LlmJudge::new("llm_judge", &config, &context)
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(fault(|_| ()), None);
    let faults: [(&str, Change); 6] = [
        ("llm_judge.url", |c| c.url = "file:///etc/passwd".into()),
        ("llm_judge.prompt", |c| c.prompt = Some("{question}".into())),
        ("llm_judge.timeout_seconds", |c| c.timeout_seconds = 0.0),
        ("llm_judge.backoff_seconds", |c| {
            c.backoff_seconds = f64::NAN
        }),
        ("llm_judge.attempts", |c| c.attempts = 0),
        ("llm_judge.concurrency", |c| c.concurrency = 0),
    ];
    for (key, change) in faults {
        let error = fault(change).unwrap();
        assert!(error.starts_with(&format!("`rewards.{key}`: ")), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut config = config("https://example.org/v1");
    config.api_key_env = Some("EMBERL_NO_SUCH_VARIABLE".into());
    let context = RewardContext {
        folder: Some(folder.path()),
        ..context
    };
    let judge = LlmJudge::new("llm_judge", &config, &context);
    let error = judge.err().unwrap().to_string();
    assert!(
        error.contains("`EMBERL_NO_SUCH_VARIABLE` is not set"),
        "{error}"
    );
}
