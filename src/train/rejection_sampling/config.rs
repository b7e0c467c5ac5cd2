//! Settings of a `sample` stage.

use serde::{Deserialize, Serialize};

use crate::data::PromptTemplate;
use crate::error::{Error, Result};
use crate::generation::SamplingParams;
use crate::rewards::{RewardConfig, RewardContext, Rubric};
use crate::rollout::{DecontaminationConfig, KeepConfig, ReadabilityConfig};
use crate::tasks::TaskConfig;

/// Settings of a `sample` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleConfig {
    /// The stage's name; unset is `sample`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The stage whose model is asked, or `model` for the run's first; unset is the nearest earlier stage
    /// that makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Problems asked, each once; a file may have fewer.
    pub prompts: usize,
    /// Completions of each problem.
    #[serde(default = "sixteen")]
    pub samples: usize,
    /// Problems whose completions are generated together; between two such batches the stage can
    /// rest.
    #[serde(default = "sixteen")]
    pub prompts_per_batch: usize,
    /// How prompts are put to the model.
    #[serde(default)]
    pub template: PromptTemplate,
    /// How prompts are put where the examples are learned from: `chat` writes messages, the others
    /// texts; unset is `template`. R1's first samples answer the template of R1-Zero and teach a chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_as: Option<PromptTemplate>,
    /// Where problems come from.
    pub task: TaskConfig,
    /// What completions are graded by.
    pub rewards: Vec<RewardConfig>,
    /// How completions are sampled. R1 samples at temperature 1.
    #[serde(default)]
    pub sampling: SamplingParams,
    /// Which completions are kept.
    #[serde(default)]
    pub keep: KeepConfig,
    /// Which completions are taken to be unreadable.
    #[serde(default)]
    pub readability: ReadabilityConfig,
    /// Test prompts that the problems may share no words with.
    #[serde(default)]
    pub decontaminate: DecontaminationConfig,
}

/// Most of anything that is counted a batch.
const MOST: usize = 1 << 15;

/// Most problems.
const MOST_PROMPTS: usize = 1 << 32;

fn sixteen() -> usize {
    16
}

impl SampleConfig {
    /// Checks the settings; `key` names the stage in the message.
    ///
    /// # Errors
    /// Names the first value that is wrong.
    pub fn validate(&self, key: &str) -> Result<()> {
        let counts = [
            ("prompts", self.prompts, MOST_PROMPTS),
            ("samples", self.samples, MOST),
            ("prompts_per_batch", self.prompts_per_batch, MOST),
        ];
        for (name, value, most) in counts {
            if !(1..=most).contains(&value) {
                let problem = format!("is {value}, expected 1 to {most}");
                return Err(Error::setting(format!("{key}.{name}"), problem));
            }
        }
        let key = |name: &str| format!("{key}.{name}");
        let inside = |error: Error| error.inside(&key(""));
        let rubric = Rubric::build(&self.rewards, &RewardContext::default()).map_err(inside)?;
        for reward in &self.rewards {
            reward.validate_parts(&self.task).map_err(inside)?;
            reward.validate_steps(None).map_err(inside)?;
        }
        self.keep.validate(&key("keep"), &rubric.names())?;
        self.sampling.validate(&key("sampling"))?;
        self.readability.validate(&key("readability"))?;
        self.decontaminate.validate(&key("decontaminate"))
    }

    /// How prompts are put where the examples are learned from.
    pub(super) fn written_template(&self) -> PromptTemplate {
        self.write_as.unwrap_or(self.template)
    }

    /// Completions that are generated together.
    pub(in crate::train) fn completions_per_batch(&self) -> usize {
        self.prompts_per_batch.min(self.prompts) * self.samples
    }
}
