//! The score of a trained reward model (DeepSeek-R1, arXiv:2501.12948, section 3.2): helpfulness as it
//! is, safety as a probability.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Attempt, Reward, RewardContext, ScoredPart, Scorer, TextForm};
use crate::error::{Error, Result};

/// Settings of a reward model's reward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRewardConfig {
    /// Factor in the sum of rewards.
    #[serde(default = "one")]
    pub weight: f64,
    /// The reward model's folder: what a `reward_model` stage wrote, or another with one label of
    /// Hugging Face's `…ForSequenceClassification`.
    pub model: PathBuf,
    /// Which part of a completion is scored: `answer`, what is left without the thinking, or
    /// `response`, all. Unset is what the model was trained on, `response` if its folder does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<ScoredPart>,
    /// How prompts and completions that are texts are put: `plain` or `chat`. Unset is what the model
    /// was trained on; if its folder does not say, `chat` if it has a chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<TextForm>,
    /// Subtracted from the score.
    #[serde(default)]
    pub mean: f64,
    /// Divides the score after that, above 0: with mean and standard deviation of the held-out scores
    /// (`reward_model.json`) rewards have mean 0 and deviation 1.
    #[serde(default = "one")]
    pub scale: f64,
    /// Whether what is then left is taken through the logistic function: the probability that a model of
    /// loss `pointwise` gives its label.
    #[serde(default)]
    pub sigmoid: bool,
}

fn one() -> f64 {
    1.0
}

/// A reward model's score as a reward.
pub struct ModelReward {
    name: String,
    config: ModelRewardConfig,
    /// None where rewards are only checked.
    scorer: Option<Box<dyn Scorer>>,
}

impl ModelReward {
    /// The reward `name` of `config`, with its model if `context` loads models.
    ///
    /// # Errors
    /// When a setting is out of range or the model cannot be loaded.
    pub fn new(
        name: &str,
        config: &ModelRewardConfig,
        context: &RewardContext<'_>,
    ) -> Result<Self> {
        let fault =
            |field: &str, problem: &str| Error::setting(format!("rewards.{name}.{field}"), problem);
        if !config.mean.is_finite() {
            return Err(fault("mean", "must be finite"));
        }
        if !(config.scale.is_finite() && config.scale > 0.0) {
            return Err(fault("scale", "must be above 0"));
        }
        let scorers = context.scorers;
        Ok(Self {
            name: name.to_owned(),
            config: config.clone(),
            scorer: scorers.map(|scorers| scorers.load(config)).transpose()?,
        })
    }

    fn reward(&self, score: f32) -> f64 {
        let ModelRewardConfig { mean, scale, .. } = self.config;
        let scaled = (f64::from(score) - mean) / scale;
        match self.config.sigmoid {
            true => 1.0 / (1.0 + (-scaled).exp()),
            false => scaled,
        }
    }
}

impl Reward for ModelReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let mut scores = self.score_group(std::slice::from_ref(attempt));
        scores.pop().unwrap_or(Ok(None))
    }

    fn score_group(&self, attempts: &[Attempt<'_>]) -> Vec<Result<Option<f64>>> {
        let Some(scorer) = &self.scorer else {
            let missing = || {
                Err(Error::Reward {
                    reward: self.name.clone(),
                    problem: "no model is loaded here".into(),
                })
            };
            return attempts.iter().map(|_| missing()).collect();
        };
        let scores = scorer.score(attempts).into_iter();
        scores
            .map(|score| score.map(|score| Some(self.reward(score))))
            .collect()
    }

    /// All completions at once, which keeps the device busy.
    fn score_groups(&self, groups: &[&[Attempt<'_>]]) -> Vec<Vec<Result<Option<f64>>>> {
        let mut scores = self.score_group(&groups.concat()).into_iter();
        groups
            .iter()
            .map(|group| scores.by_ref().take(group.len()).collect())
            .collect()
    }

    fn needs_device(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Problem, Prompt};
    use crate::rewards::{Rubric, Scorers};
    use std::sync::Mutex;

    /// Scores a completion by its bytes, and notes how many it was asked for at once.
    struct Bytes;

    static ASKED: Mutex<Vec<usize>> = Mutex::new(Vec::new());

    impl Scorer for Bytes {
        fn score(&self, attempts: &[Attempt<'_>]) -> Vec<Result<f32>> {
            ASKED.lock().unwrap().push(attempts.len());
            let score = |attempt: &Attempt<'_>| match attempt.completion {
                "" => Err(Error::Model {
                    problem: "empty".into(),
                }),
                text => Ok(text.len() as f32),
            };
            attempts.iter().map(score).collect()
        }
    }

    impl Scorers for Bytes {
        fn load(&self, _: &ModelRewardConfig) -> Result<Box<dyn Scorer>> {
            Ok(Box::new(Self))
        }
    }

    fn config(settings: &str) -> ModelRewardConfig {
        toml::from_str(&format!("model = 'm'\n{settings}")).unwrap()
    }

    fn problem() -> Problem {
        Problem {
            prompt: Prompt::Text("?".into()),
            answer: serde_json::Value::Null,
            level: None,
            language: None,
            part: None,
        }
    }

    fn attempt<'a>(problem: &'a Problem, completion: &'a str) -> Attempt<'a> {
        Attempt {
            problem,
            completion,
            token_ids: &[0],
            finished: true,
        }
    }

    #[test]
    fn scores_of_several_groups_are_asked_for_at_once_and_scaled() {
        let context = RewardContext {
            scorers: Some(&Bytes),
            ..RewardContext::default()
        };
        let reward = |name, settings| ModelReward::new(name, &config(settings), &context).unwrap();
        let rubric = Rubric::default()
            .with(1.0, reward("helpful", "mean = 1.0\nscale = 2.0"))
            .and_then(|rubric| rubric.with(1.0, reward("safe", "mean = 2.0\nsigmoid = true")))
            .unwrap();
        assert_eq!(rubric.names(), ["helpful", "safe"]);
        let problem = problem();
        let [first, second] =
            [["22", "333"], ["", "4444"]].map(|texts| texts.map(|text| attempt(&problem, text)));
        let graded = rubric.grade_groups(&[&first, &second]);
        assert_eq!(*ASKED.lock().unwrap(), [4, 4]);
        // (2 − 1) / 2 + σ(0), (3 − 1) / 2 + σ(1), a failure, (4 − 1) / 2 + σ(2).
        let totals: Vec<_> = graded.iter().flatten().map(|graded| graded.total).collect();
        assert_eq!(totals[0], Some(1.0));
        assert!((totals[1].unwrap() - 1.731_058_579).abs() < 1e-8);
        assert_eq!(totals[2], None);
        assert!((totals[3].unwrap() - 2.380_797_078).abs() < 1e-8);
        assert_eq!(graded[1][0].errors[0], "reward `helpful`: model: empty");
    }

    #[test]
    fn a_reward_without_its_model_is_checked_and_fails_when_asked() {
        let context = RewardContext::default();
        let reward = ModelReward::new("helpful", &config(""), &context).unwrap();
        let error = reward.score(&attempt(&problem(), "a")).unwrap_err();
        assert!(error.to_string().contains("no model is loaded"), "{error}");
        for (line, field) in [("scale = 0.0", "scale"), ("mean = nan", "mean")] {
            let reward = ModelReward::new("helpful", &config(line), &context);
            let error = reward.err().unwrap();
            let key = format!("`rewards.helpful.{field}`");
            assert!(error.to_string().starts_with(&key), "{error}");
        }
    }
}
