//! Readability: completions that a reader would put away, by rules.
//!
//! DeepSeek-R1 (arXiv:2501.12948) leaves out "chain-of-thought with mixed languages, long paragraphs, and
//! code blocks" and says no numbers; here every filter is a setting, off unless it has one. Tags such as
//! `<think>` count as no words.

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation as _;

use super::Rejection;
use crate::data::{Problem, Prompt};
use crate::error::{Error, Result};
use crate::rewards::{Repetition, RepetitionConfig, RepetitionUnit, TargetLanguage};
use crate::rollout::Rollout;

/// Which completions are taken to be unreadable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadabilityConfig {
    /// Drops completions that ran out of tokens.
    pub drop_unfinished: bool,
    /// Least share of a completion's words in the target language, 0 to 1; unset lets languages mix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_language_share: Option<f64>,
    /// The target language: `prompt` or a code such as `en`.
    pub language: TargetLanguage,
    /// Most of a completion's n-grams, as a share, that were there before, 0 to 1; unset lets it repeat
    /// itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_repetition: Option<f64>,
    /// Length of those n-grams, 1 to 64. Long ones leave reasoning room to come back to a number.
    pub repetition_ngram: usize,
    /// What those n-grams are made of.
    pub repetition_unit: RepetitionUnit,
    /// Most words between two line breaks; unset lets paragraphs be long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_paragraph_words: Option<usize>,
    /// Drops completions with a code block where the prompt does not speak of code.
    pub drop_unasked_code: bool,
}

impl Default for ReadabilityConfig {
    fn default() -> Self {
        Self {
            drop_unfinished: true,
            min_language_share: None,
            language: TargetLanguage::default(),
            max_repetition: None,
            repetition_ngram: 20,
            repetition_unit: RepetitionUnit::default(),
            max_paragraph_words: None,
            drop_unasked_code: false,
        }
    }
}

impl ReadabilityConfig {
    /// Checks the ranges; `key` names the settings in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        let shares = [
            ("min_language_share", self.min_language_share),
            ("max_repetition", self.max_repetition),
        ];
        for (name, share) in shares {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                return Err(Error::setting(format!("{key}.{name}"), "must be 0 to 1"));
            }
        }
        let name = format!("{key}.repetition_ngram");
        self.repetition()
            .map(drop)
            .map_err(|_| Error::setting(name, "must be 1 to 64"))
    }

    fn repetition(&self) -> Result<Repetition> {
        Repetition::new(&RepetitionConfig {
            weight: 1.0,
            unit: self.repetition_unit,
            ngram: self.repetition_ngram,
            max_penalty: -1.0,
        })
    }
}

/// Judges whether completions are readable.
#[derive(Clone, Debug)]
pub struct Readability {
    config: ReadabilityConfig,
    repetition: Repetition,
}

impl Readability {
    /// The judge with these settings.
    ///
    /// # Errors
    /// When the n-gram is out of range.
    pub fn new(config: ReadabilityConfig) -> Result<Self> {
        Ok(Self {
            repetition: config.repetition()?,
            config,
        })
    }

    /// Why a completion of `problem` is not readable; none if it is.
    pub fn judge(&self, problem: &Problem, rollout: &Rollout) -> Option<Rejection> {
        let config = &self.config;
        let text = without_tags(&rollout.text);
        if config.drop_unfinished && rollout.is_truncated() {
            return Some(Rejection::Unfinished);
        }
        if let Some(least) = config.min_language_share
            && language_share(&text, &problem.prompt, config.language) < least
        {
            return Some(Rejection::MixedLanguage);
        }
        // A penalty of -1 is nothing but repetition.
        if let Some(most) = config.max_repetition
            && -self.repetition.of(&rollout.text, &rollout.completion.ids) > most
        {
            return Some(Rejection::Repetition);
        }
        if let Some(most) = config.max_paragraph_words
            && longest_paragraph(&text) > most
        {
            return Some(Rejection::LongParagraph);
        }
        let is_unasked = config.drop_unasked_code
            && has_code_block(&rollout.text)
            && !asks_for_code(&problem.prompt);
        is_unasked.then_some(Rejection::UnaskedCode)
    }
}

/// The share of the words of `text` in the target language; 1 where there are no words to tell apart
/// or the prompt has no language.
fn language_share(text: &str, prompt: &Prompt, target: TargetLanguage) -> f64 {
    let Some(target) = target.of(prompt) else {
        return 1.0;
    };
    let words = target.count(text);
    match words.all {
        0 => 1.0,
        all => words.target as f64 / all as f64,
    }
}

/// Words of the longest stretch of `text` without a line break, by Unicode's rules (UAX #29): a
/// character of Chinese is a word.
fn longest_paragraph(text: &str) -> usize {
    let words = |line: &str| line.unicode_words().count();
    text.lines().map(words).max().unwrap_or(0)
}

/// Whether a line of `text` opens a fenced block.
fn has_code_block(text: &str) -> bool {
    text.lines()
        .any(|line| line.trim_start().starts_with("```"))
}

/// Whether the prompt shows code or speaks of writing it.
fn asks_for_code(prompt: &Prompt) -> bool {
    const WORDS: [&str; 16] = [
        "algorithm",
        "bash",
        "c++",
        "code",
        "css",
        "html",
        "implement",
        "java",
        "javascript",
        "program",
        "programme",
        "python",
        "regex",
        "rust",
        "script",
        "sql",
    ];
    const SIGNS: [&str; 6] = ["```", "代码", "程序", "编程", "脚本", "write a function"];
    let text = prompt.text().to_lowercase();
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '+');
    words.any(|word| WORDS.contains(&word)) || SIGNS.iter().any(|sign| text.contains(sign))
}

/// `text` with spaces in place of the tags around reasoning and answer.
fn without_tags(text: &str) -> String {
    const TAGS: [&str; 4] = ["<think>", "</think>", "<answer>", "</answer>"];
    TAGS.iter()
        .fold(text.to_owned(), |text, tag| text.replace(tag, " "))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::generation::{Completion, FinishReason};
    use crate::rewards::Graded;

    fn judge(settings: &str, prompt: &str, text: &str) -> Option<Rejection> {
        let config: ReadabilityConfig = toml::from_str(settings).unwrap();
        config.validate("readability").unwrap();
        let problem = Problem {
            prompt: Prompt::Text(prompt.into()),
            answer: Value::Null,
            level: None,
            language: None,
            part: None,
        };
        let rollout = Rollout {
            completion: Completion {
                ids: text.bytes().map(u32::from).collect(),
                logprobs: vec![0.0; text.len()],
                finish: FinishReason::Stop,
            },
            text: text.into(),
            graded: Graded::default(),
        };
        Readability::new(config).unwrap().judge(&problem, &rollout)
    }

    #[test]
    fn a_completion_that_was_cut_off_is_unfinished() {
        let readability = Readability::new(ReadabilityConfig::default()).unwrap();
        let problem = Problem {
            prompt: Prompt::Text("?".into()),
            answer: Value::Null,
            level: None,
            language: None,
            part: None,
        };
        let rollout = Rollout {
            completion: Completion {
                ids: vec![1],
                logprobs: vec![0.0],
                finish: FinishReason::Length,
            },
            text: "a".into(),
            graded: Graded::default(),
        };
        let verdict = readability.judge(&problem, &rollout);
        assert_eq!(verdict, Some(Rejection::Unfinished));
    }

    #[test]
    fn languages_may_mix_as_far_as_the_share_says() {
        // 5 English words and 4 Chinese characters; the tags are no words.
        let text = "<think>First we add the numbers. 所以答案</think>";
        let english = |share: f64| {
            let settings = format!("min_language_share = {share:?}\nlanguage = \"en\"");
            judge(&settings, "?", text)
        };
        assert_eq!(english(0.5), None);
        assert_eq!(english(0.6), Some(Rejection::MixedLanguage));
        // Figures are of no language, and a prompt of figures asks for none.
        assert_eq!(judge("min_language_share = 1.0", "2+2=?", text), None);
        let figures = "min_language_share = 1.0\nlanguage = \"zh\"";
        assert_eq!(judge(figures, "?", "<think>2+2=4</think>"), None);
    }

    #[test]
    fn repeated_n_grams_count_as_a_share() {
        // Bigrams of "ababab": ab ba ab ba ab, three of five seen before.
        let settings = |most: f64| format!("max_repetition = {most:?}\nrepetition_ngram = 2");
        assert_eq!(judge(&settings(0.6), "?", "ababab"), None);
        assert_eq!(
            judge(&settings(0.59), "?", "ababab"),
            Some(Rejection::Repetition)
        );
    }

    #[test]
    fn a_paragraph_ends_at_a_line_break() {
        let text = "<think>one two three\nfour five</think> 六七";
        // "four five 六七" is four words.
        assert_eq!(judge("max_paragraph_words = 4", "?", text), None);
        let found = judge("max_paragraph_words = 3", "?", text);
        assert_eq!(found, Some(Rejection::LongParagraph));
    }

    #[test]
    fn code_is_unasked_unless_the_prompt_speaks_of_it() {
        let block = "so:\n  ```python\nprint(1)\n```";
        let asked = |prompt: &str, text: &str| judge("drop_unasked_code = true", prompt, text);
        assert_eq!(asked("What is 1+1?", block), Some(Rejection::UnaskedCode));
        for prompt in ["Write a Python script.", "用代码回答", "Fix this C++:"] {
            assert_eq!(asked(prompt, block), None, "{prompt}");
        }
        assert_eq!(asked("What is 1+1?", "the `+` sign"), None);
        assert_eq!(asked("Decode 1+1.", block), Some(Rejection::UnaskedCode));
        assert_eq!(judge("", "What is 1+1?", block), None);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (settings, key) in [
            ("min_language_share = 1.5", "min_language_share"),
            ("max_repetition = -0.1", "max_repetition"),
            ("repetition_ngram = 0", "repetition_ngram"),
        ] {
            let config: ReadabilityConfig = toml::from_str(settings).unwrap();
            let message = config.validate("readability").unwrap_err().to_string();
            assert!(
                message.contains(&format!("`readability.{key}`")),
                "{message}"
            );
        }
    }
}
