//! Language consistency: the share of the reasoning's words that are in the target language.
//!
//! `Num(words of the target language) / Num(words)` over the chain of thought, added to the other
//! rewards (DeepSeek-R1, arXiv:2501.12948, reasoning RL). The paper does not say how words are told apart:
//! [`Language::count`] does. Reasoning without words earns 0, so that nothing is gained by leaving it out.

use serde::{Deserialize, Serialize};

use super::{Attempt, Language, Reward};
use crate::data::Prompt;
use crate::error::{Error, Result};
use crate::tokenizer::Role;

/// Settings of [`LanguageConsistency`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageConsistencyConfig {
    /// Factor in the sum of rewards; R1 adds language consistency with factor 1.
    #[serde(default = "one")]
    pub weight: f64,
    /// The target.
    #[serde(default)]
    pub language: TargetLanguage,
}

/// The language that reasoning should be in; a recipe says `prompt` or an ISO 639-1 code such as `en`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TargetLanguage {
    /// That of the prompt: of a text, or of the user's last message. A prompt without words has none,
    /// and its completions no score.
    #[default]
    Prompt,
    /// This one.
    Fixed(Language),
}

impl TargetLanguage {
    /// The language to answer `prompt` in, if it has one.
    pub fn of(self, prompt: &Prompt) -> Option<Language> {
        match (self, prompt) {
            (Self::Fixed(language), _) => Some(language),
            (Self::Prompt, Prompt::Text(text)) => Language::of(text),
            (Self::Prompt, Prompt::Messages(messages)) => {
                let mut users = messages.iter().filter(|m| m.role == Role::User);
                Language::of(users.next_back()?.content.as_deref()?)
            }
        }
    }
}

impl From<TargetLanguage> for String {
    fn from(target: TargetLanguage) -> Self {
        match target {
            TargetLanguage::Prompt => PROMPT.into(),
            TargetLanguage::Fixed(language) => language.into(),
        }
    }
}

impl TryFrom<String> for TargetLanguage {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        match text.as_str() {
            PROMPT => Ok(Self::Prompt),
            _ => Language::try_from(text).map(Self::Fixed),
        }
    }
}

const PROMPT: &str = "prompt";

/// The language consistency reward, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanguageConsistency {
    target: TargetLanguage,
}

impl LanguageConsistency {
    /// The reward for reasoning in `target`.
    pub fn new(target: TargetLanguage) -> Self {
        Self { target }
    }

    /// The share of the words in the reasoning of `completion` that are in `language`, 0 to 1.
    pub fn share(language: Language, completion: &str) -> f64 {
        let words = language.count(reasoning(completion));
        words.target as f64 / words.all.max(1) as f64
    }
}

impl Reward for LanguageConsistency {
    fn name(&self) -> &str {
        "language_consistency"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let Some(target) = self.target.of(&attempt.problem.prompt) else {
            return Ok(None);
        };
        Ok(Some(Self::share(target, attempt.completion)))
    }
}

/// The chain of thought: what stands before the first `</think>`, or the whole completion when it has
/// none, from the first `<think>` on if there is one.
pub fn reasoning(completion: &str) -> &str {
    let thinking = completion
        .split_once("</think>")
        .map_or(completion, |(thinking, _)| thinking);
    thinking
        .split_once("<think>")
        .map_or(thinking, |(_, thinking)| thinking)
}

fn one() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::data::Problem;
    use crate::tokenizer::Message;

    fn score(settings: &str, prompt: Prompt, completion: &str) -> Option<f64> {
        let config: LanguageConsistencyConfig = toml::from_str(settings).unwrap();
        let reward = LanguageConsistency::new(config.language);
        let problem = Problem {
            prompt,
            answer: Value::Null,
            level: None,
            language: None,
            part: None,
        };
        let attempt = Attempt {
            problem: &problem,
            completion,
            token_ids: &[],
            finished: true,
        };
        reward.score(&attempt).unwrap()
    }

    fn text(text: &str) -> Prompt {
        Prompt::Text(text.into())
    }

    const MIXED: &str = "<think>First we add the numbers. 所以答案</think>四十二";

    #[test]
    fn share_of_the_targets_words_in_the_reasoning_counts() {
        // 5 English words and 4 Chinese characters; the answer does not count.
        let fixed = |code: &str| score(&format!("language = \"{code}\""), text("?"), MIXED);
        assert_eq!(fixed("en"), Some(5.0 / 9.0));
        assert_eq!(fixed("zh"), Some(4.0 / 9.0));
        assert_eq!(fixed("ru"), Some(0.0));
    }

    #[test]
    fn target_may_be_the_prompts_language() {
        assert_eq!(
            score("", text("二十加二十二等于多少"), MIXED),
            Some(4.0 / 9.0)
        );
        let messages = vec![
            Message::user("你好，请你帮我"),
            Message::assistant("好的"),
            Message::user("Please add twenty and twenty two"),
        ];
        assert_eq!(
            score("", Prompt::Messages(messages), MIXED),
            Some(5.0 / 9.0)
        );
        assert_eq!(score("", text("20+22=?"), MIXED), None);
    }

    #[test]
    fn reasoning_without_words_earns_nothing() {
        for completion in ["", "<think></think>the answer", "<think>1+1=2</think>2"] {
            assert_eq!(score("language = \"en\"", text("?"), completion), Some(0.0));
        }
    }

    #[test]
    fn reasoning_is_what_stands_before_the_end_of_thinking() {
        assert_eq!(reasoning("so <think>a</think>b<think>c</think>"), "a");
        assert_eq!(reasoning("a</think>b"), "a");
        assert_eq!(reasoning("<think>a"), "a");
        assert_eq!(reasoning("a"), "a");
    }

    #[test]
    fn unknown_language_is_refused_with_the_known_ones() {
        let error = toml::from_str::<LanguageConsistencyConfig>("language = \"tlh\"");
        let message = error.unwrap_err().to_string();
        assert!(message.contains("is `tlh`, expected one of"), "{message}");
    }
}
