//! Decontamination: prompts that share words with a test prompt are not learned from.
//!
//! A prompt is contaminated when one of its 10-grams of words is in a test prompt (DeepSeek-R1,
//! arXiv:2501.12948, "Decontamination"). What the paper leaves open: words stand between white space, without
//! the punctuation around them and in lower case, a character of Chinese or Japanese each; a prompt of fewer
//! words than an n-gram is contaminated by an equal one. As in GPT-3 (arXiv:2005.14165, appendix C), n-grams
//! that many prompts share are the wording of their source, not of a problem, and do not count.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use unicode_script::{Script, UnicodeScript as _};

use crate::data::{JsonLine, Prompt, read_json_lines};
use crate::error::{Error, Result};
use crate::tasks::{Split, Task, TaskConfig};

/// What prompts are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecontaminationConfig {
    /// Words of an n-gram. The paper's are 10.
    pub ngram: usize,
    /// Whether the held-out problems of the stage's own task are looked at.
    pub own_task: bool,
    /// Tests beside those, JSON Lines with the prompt as `prompt`, `problem`, `question` or `text`.
    pub files: Vec<PathBuf>,
    /// Tasks whose held-out problems are looked at too.
    pub tasks: Vec<TaskConfig>,
    /// Held-out problems looked at of a task that has no end of them.
    pub problems: usize,
    /// N-grams of more test prompts than this are wording that does not count. GPT-3 took 10.
    pub common: usize,
}

impl Default for DecontaminationConfig {
    fn default() -> Self {
        Self {
            ngram: 10,
            own_task: true,
            files: Vec::new(),
            tasks: Vec::new(),
            problems: 1000,
            common: 10,
        }
    }
}

impl DecontaminationConfig {
    /// Checks the ranges; `key` names the settings in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        let counts = [("ngram", self.ngram), ("common", self.common)];
        match counts.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::setting(
                format!("{key}.{name}"),
                "must be at least 1",
            )),
            None => Ok(()),
        }
    }
}

/// The n-grams of test prompts.
#[derive(Clone, Debug)]
pub struct TestPrompts {
    ngram: usize,
    common: usize,
    /// In how many prompts each n-gram is.
    counts: HashMap<String, usize>,
    /// Prompts of fewer words than an n-gram, whole.
    short: HashSet<String>,
    known: HashSet<String>,
}

impl TestPrompts {
    /// Reads the tests that `config` names; `own` is the stage's task.
    ///
    /// # Errors
    /// When a file or a task is broken.
    pub fn read(config: &DecontaminationConfig, own: &dyn Task) -> Result<Self> {
        let mut prompts = Self {
            ngram: config.ngram,
            common: config.common,
            counts: HashMap::new(),
            short: HashSet::new(),
            known: HashSet::new(),
        };
        if config.own_task {
            prompts.add_task(own, config.problems);
        }
        for task in &config.tasks {
            prompts.add_task(task.build()?.as_ref(), config.problems);
        }
        for path in &config.files {
            prompts.add_file(path)?;
        }
        Ok(prompts)
    }

    /// Whether `prompt` shares an n-gram with a test prompt.
    pub fn share_words_with(&self, prompt: &Prompt) -> bool {
        let words = words(&prompt.text());
        if words.len() < self.ngram {
            return self.short.contains(&words.join(" "));
        }
        let is_telling = |ngram: String| {
            let count = self.counts.get(&ngram);
            count.is_some_and(|count| *count <= self.common)
        };
        ngrams(&words, self.ngram).any(is_telling)
    }

    fn add_task(&mut self, task: &dyn Task, most: usize) {
        let count = task.size(Split::Test).unwrap_or(most);
        for index in 0..count as u64 {
            self.add(&task.problem(Split::Test, index).prompt.text());
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<()> {
        for line in read_json_lines(path)? {
            self.add(&prompt_text(line?)?);
        }
        Ok(())
    }

    /// Adds a test prompt, once.
    fn add(&mut self, text: &str) {
        let words = words(text);
        if !self.known.insert(words.join(" ")) {
            return;
        }
        if words.len() < self.ngram {
            self.short.insert(words.join(" "));
            return;
        }
        let of_prompt: HashSet<String> = ngrams(&words, self.ngram).collect();
        for ngram in of_prompt {
            *self.counts.entry(ngram).or_insert(0) += 1;
        }
    }
}

/// The prompt of a line of a test file.
fn prompt_text(mut line: JsonLine) -> Result<String> {
    let fields = ["prompt", "problem", "question", "text"];
    let Some(field) = fields.into_iter().find(|field| line.has(field)) else {
        let problem = "no prompt, expected one as `prompt`, `problem`, `question` or `text`";
        return Err(line.error(problem));
    };
    let prompt: Prompt = line.take(field, "a text or a list of messages")?;
    Ok(prompt.text().into_owned())
}

fn ngrams(words: &[String], length: usize) -> impl Iterator<Item = String> {
    words.windows(length).map(|words| words.join(" "))
}

/// The words of `text` in lower case: what stands between white space, without the punctuation around
/// it, and every character of Chinese or Japanese.
fn words(text: &str) -> Vec<String> {
    const AROUND: &[char] = &[
        '.', ',', ';', ':', '!', '?', '"', '\'', '(', ')', '[', ']', '。', '，', '？', '！', '：',
    ];
    let mut words = Vec::new();
    for run in text.to_lowercase().split_whitespace() {
        let mut word = String::new();
        for symbol in run.chars() {
            let stands_alone = matches!(
                symbol.script(),
                Script::Han | Script::Hiragana | Script::Katakana
            );
            if stands_alone {
                words.push(std::mem::take(&mut word));
                words.push(symbol.into());
            } else {
                word.push(symbol);
            }
        }
        words.push(word);
    }
    let bare = words.iter().map(|word| word.trim_matches(AROUND));
    let bare = bare.filter(|word| !word.is_empty());
    bare.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(settings: &str, lines: &[&str]) -> Result<TestPrompts> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let mut config: DecontaminationConfig = toml::from_str(settings).unwrap();
        config.validate("decontaminate").unwrap();
        config.files.push(path);
        let task: TaskConfig = toml::from_str("kind = \"countdown\"\nlevels = [1]").unwrap();
        TestPrompts::read(&config, task.build().unwrap().as_ref())
    }

    fn shares(prompts: &TestPrompts, text: &str) -> bool {
        prompts.share_words_with(&Prompt::Text(text.into()))
    }

    #[test]
    fn ten_words_in_common_are_too_many_and_nine_are_not() {
        let line = r#"{"question": "one two three four five six seven eight nine ten eleven"}"#;
        let prompts = tests("own_task = false", &[line]).unwrap();
        let text = "now: two (three) Four five, six seven\neight nine ten eleven.";
        assert!(shares(&prompts, text));
        let text = "now two three four five six seven eight nine ten";
        assert!(!shares(&prompts, text));
    }

    #[test]
    fn a_short_prompt_is_compared_whole_and_figures_with_their_signs() {
        let lines = [r#"{"prompt": "12-7=?"}"#, r#"{"text": "二加二等于几？"}"#];
        let prompts = tests("own_task = false", &lines).unwrap();
        assert!(shares(&prompts, " 12-7=?\n"));
        assert!(!shares(&prompts, "12+7=?"));
        assert!(shares(&prompts, "二加二等于几"));
    }

    #[test]
    fn wording_that_many_tests_share_is_no_contamination() {
        let line = |number| {
            format!(
                r#"{{"prompt": "use each of these numbers at most once to make {number} now"}}"#
            )
        };
        let lines: Vec<String> = (0..3).map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        // "use each .. to make" is ten words of all three; with the number, of one.
        let other = "use each of these numbers at most once to make 9 now";
        let same = "use each of these numbers at most once to make 2 now";
        let prompts = tests("own_task = false\ncommon = 2", &lines).unwrap();
        assert!(!shares(&prompts, other));
        assert!(shares(&prompts, same));
        let prompts = tests("own_task = false\ncommon = 3", &lines).unwrap();
        assert!(shares(&prompts, other));
    }

    #[test]
    fn held_out_problems_of_the_own_task_count_unless_said_otherwise() {
        let task: TaskConfig = toml::from_str("kind = \"countdown\"\nlevels = [1]").unwrap();
        let task = task.build().unwrap();
        let held_out = task.problem(Split::Test, 3).prompt;
        let line = r#"{"prompt": "?"}"#;
        assert!(tests("", &[line]).unwrap().share_words_with(&held_out));
        assert!(
            !tests("own_task = false", &[line])
                .unwrap()
                .share_words_with(&held_out)
        );
        let trained = task.problem(Split::Train, 3).prompt;
        assert!(!tests("", &[line]).unwrap().share_words_with(&trained));
    }

    #[test]
    fn a_line_without_a_prompt_is_named() {
        let message = tests("", &[r#"{"input": "a"}"#]).unwrap_err().to_string();
        assert!(
            message.contains("test.jsonl:1: no prompt, expected"),
            "{message}"
        );
    }
}
