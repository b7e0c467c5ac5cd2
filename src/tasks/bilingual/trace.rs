//! What a base model has read: people who work sums out in words, and some who mix languages.
//!
//! An author writes one step a sentence, may work the sum out once more to check it, and goes by
//! the second result where the two differ:
//!
//! ```text
//! <think>
//! forty-seven plus thirty-eight is eighty-five.
//! 八十五减十二等于七十三。
//! seventy-three is 73.
//! </think>
//! <answer>73</answer>
//! ```
//!
//! The probability of a slip depends on the language of the sentence. Where one language slips
//! less, a reward for right answers alone draws a model to it, whatever the prompt's language:
//! the mixing that arXiv:2501.12948 saw and its language-consistency reward answers.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::MAX_VALUE;
use super::language::Language;
use crate::error::Result;
use crate::tasks::expression::Expression;
use crate::tasks::traces::{Author, validate_probabilities};

/// Times that a sum is worked out at most.
const MAX_ROUNDS: usize = 4;

/// Make-up of the bilingual task's pretraining traces; every field is a probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BilingualTraces {
    /// A sentence is in the language that the prompt is not in.
    pub mix: f64,
    /// The result of a step told in English is a little wrong.
    pub slip_english: f64,
    /// The result of a step told in Chinese is a little wrong.
    pub slip_chinese: f64,
    /// The author works the sum out once more.
    pub check: f64,
    /// The whole trace has no tags.
    pub untagged: f64,
}

impl Default for BilingualTraces {
    fn default() -> Self {
        Self {
            mix: 0.3,
            slip_english: 0.15,
            slip_chinese: 0.05,
            check: 0.3,
            untagged: 0.2,
        }
    }
}

impl BilingualTraces {
    /// Checks the probabilities.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub(super) fn validate(&self) -> Result<()> {
        validate_probabilities(&[
            ("traces.mix", self.mix),
            ("traces.slip_english", self.slip_english),
            ("traces.slip_chinese", self.slip_chinese),
            ("traces.check", self.check),
            ("traces.untagged", self.untagged),
        ])
    }

    /// Writes the trace of one author for `chain`, asked in `language`.
    pub(super) fn write(
        &self,
        chain: &Expression,
        language: Language,
        rng: &mut dyn Rng,
    ) -> String {
        let tagged = !rng.random_bool(self.untagged);
        let mut telling = Telling {
            traces: self,
            prompt: language,
            rng,
            text: String::new(),
        };
        let value = telling.think(chain);
        let thinking = telling.text;
        match (tagged, language) {
            (true, _) => format!("<think>\n{thinking}</think>\n<answer>{value}</answer>"),
            (false, Language::English) => format!("{thinking}answer {value}"),
            (false, Language::Chinese) => format!("{thinking}答案 {value}"),
        }
    }

    /// An author who makes no mistake, keeps to the language and answers in tags.
    #[cfg(test)]
    pub(super) fn careful() -> Self {
        Self {
            mix: 0.0,
            slip_english: 0.0,
            slip_chinese: 0.0,
            check: 0.0,
            untagged: 0.0,
        }
    }
}

/// An author at work, and what stands on the paper.
struct Telling<'a> {
    traces: &'a BilingualTraces,
    prompt: Language,
    rng: &'a mut dyn Rng,
    text: String,
}

impl Telling<'_> {
    /// Works `chain` out, perhaps more than once, and returns the value that the author believes.
    fn think(&mut self, chain: &Expression) -> i64 {
        let mut value = self.work_out(chain.clone());
        for _ in 1..MAX_ROUNDS {
            if !self.rng.random_bool(self.traces.check) {
                break;
            }
            self.say("let me check.", "我再算一遍。");
            let again = self.work_out(chain.clone());
            if again == value {
                self.say("that is right.", "没错。");
                break;
            }
            self.say("wait, that was wrong before.", "等等，刚才算错了。");
            value = again;
        }
        let [english, chinese] = [Language::English, Language::Chinese].map(|l| l.number(value));
        self.say(
            &format!("{english} is {value}."),
            &format!("{chinese}写作{value}。"),
        );
        value
    }

    /// Tells the steps of `rest`, the leftmost first; whoever slips stays among numbers with words.
    fn work_out(&mut self, mut rest: Expression) -> i64 {
        while let Some(operation) = rest.first_operation() {
            let language = self.language();
            let slip = match language {
                Language::English => self.traces.slip_english,
                Language::Chinese => self.traces.slip_chinese,
            };
            let rng = &mut *self.rng;
            let taken = Author { rng, slip }.number(operation.integer().unwrap_or(0));
            let value = taken.clamp(0, MAX_VALUE);
            let (steps, result) = (language.spell(operation), language.number(value));
            self.text.push_str(&match language {
                Language::English => format!("{steps} is {result}.\n"),
                Language::Chinese => format!("{steps}等于{result}。\n"),
            });
            *operation = Expression::Number(value);
        }
        rest.integer().unwrap_or(0)
    }

    /// The language of the next sentence.
    fn language(&mut self) -> Language {
        if self.rng.random_bool(self.traces.mix) {
            self.prompt.other()
        } else {
            self.prompt
        }
    }

    /// Writes a sentence in one of the languages.
    fn say(&mut self, english: &str, chinese: &str) {
        let sentence = match self.language() {
            Language::English => english,
            Language::Chinese => chinese,
        };
        self.text.push_str(sentence);
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    fn written(traces: &BilingualTraces, language: Language) -> Vec<String> {
        let chain = Expression::parse("47+38-12").unwrap();
        let mut rng = Seed::new(6).rng();
        (0..1000)
            .map(|_| traces.write(&chain, language, &mut rng))
            .collect()
    }

    fn thinking(trace: &str) -> &str {
        let (_, rest) = trace.split_once("<think>").unwrap();
        rest.split_once("</think>").unwrap().0
    }

    fn has_english(text: &str) -> bool {
        text.contains(|symbol: char| symbol.is_ascii_alphabetic())
    }

    fn has_chinese(text: &str) -> bool {
        text.contains(|symbol| ('\u{4e00}'..='\u{9fff}').contains(&symbol))
    }

    #[test]
    fn careful_author_keeps_to_the_language() {
        let careful = BilingualTraces::careful();
        let english = "<think>\nforty-seven plus thirty-eight is eighty-five.\n\
                       eighty-five minus twelve is seventy-three.\nseventy-three is 73.\n</think>\n\
                       <answer>73</answer>";
        assert_eq!(written(&careful, Language::English)[0], english);
        let chinese = "<think>\n四十七加三十八等于八十五。\n八十五减十二等于七十三。\n\
                       七十三写作73。\n</think>\n<answer>73</answer>";
        assert_eq!(written(&careful, Language::Chinese)[0], chinese);
    }

    #[test]
    fn mixing_author_changes_language_as_often_as_asked() {
        for language in [Language::English, Language::Chinese] {
            let mixing = BilingualTraces {
                mix: 0.3,
                ..BilingualTraces::careful()
            };
            // Three sentences: all in the prompt's language with probability 0.7^3 = 0.343.
            let traces = written(&mixing, language);
            let pure = |trace: &&String| {
                let text = thinking(trace);
                has_english(text) != has_chinese(text)
            };
            // And all in the other one with 0.3^3 = 0.027.
            let share = traces.iter().filter(pure).count() as f64 / 1000.0;
            assert!((0.32..0.42).contains(&share), "{share}");
            let always = BilingualTraces { mix: 1.0, ..mixing };
            let other = language.other();
            for trace in written(&always, language) {
                let text = thinking(&trace);
                assert_eq!(has_english(text), other == Language::English);
                assert_eq!(has_chinese(text), other == Language::Chinese);
            }
        }
    }

    #[test]
    fn slips_go_by_the_language_of_the_sentence() {
        let right = |mix: f64, language| {
            let traces = BilingualTraces {
                mix,
                slip_english: 0.5,
                ..BilingualTraces::careful()
            };
            let traces = written(&traces, language);
            traces
                .iter()
                .filter(|trace| trace.ends_with("<answer>73</answer>"))
                .count()
        };
        assert_eq!(right(0.0, Language::Chinese), 1000);
        assert_eq!(right(1.0, Language::English), 1000);
        // Two steps right with 0.25, or two slips that cancel: 4 of 16 pairs, 0.25 * 0.25.
        let slipping = right(0.0, Language::English);
        assert!((250..375).contains(&slipping), "{slipping}");
    }

    #[test]
    fn checks_agree_or_correct() {
        let traces = BilingualTraces {
            slip_english: 0.2,
            check: 1.0,
            ..BilingualTraces::careful()
        };
        let traces = written(&traces, Language::English);
        let agreed = traces
            .iter()
            .filter(|trace| trace.contains("that is right."));
        assert!(agreed.count() > 700);
        let corrected = traces
            .iter()
            .filter(|trace| trace.contains("wait, that was wrong"));
        assert!(corrected.count() > 300);
        // Without a check 0.8 * 0.8 and a few slips that cancel would be right.
        let right = traces
            .iter()
            .filter(|trace| trace.ends_with("<answer>73</answer>"));
        assert!(right.count() > 740);
    }

    #[test]
    fn a_probability_above_one_is_refused_by_name() {
        let traces = BilingualTraces {
            mix: 1.5,
            ..BilingualTraces::default()
        };
        let message = traces.validate().unwrap_err().to_string();
        assert_eq!(message, "`traces.mix`: is 1.5, expected 0 to 1");
    }
}
