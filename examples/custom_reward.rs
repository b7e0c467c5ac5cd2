//! A reward of your own: brevity, beside the shipped accuracy and format.
//!
//! `cargo run --example custom_reward`
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use emberl::data::{Problem, Prompt};
use emberl::error::Result;
use emberl::rewards::{Accuracy, AnswerSource, Attempt, Format, FormatStyle, Reward, Rubric};

/// 1 for an empty completion, falling to 0 at `token_limit`; says nothing of one that was cut off.
struct Brevity {
    token_limit: usize,
}

impl Reward for Brevity {
    fn name(&self) -> &str {
        "brevity"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let used = attempt.token_count as f64 / self.token_limit as f64;
        Ok(attempt.finished.then_some(1.0 - used.min(1.0)))
    }
}

fn main() -> Result<()> {
    let rubric = Rubric::default()
        .with(1.0, Accuracy::new(AnswerSource::AfterThink, None))?
        .with(0.2, Format::new(FormatStyle::ThinkAnswerLoose))?
        .with(0.1, Brevity { token_limit: 40 })?;
    let problem = Problem {
        prompt: Prompt::Text("70+91=?".into()),
        answer: "161".into(),
    };
    let completions = [
        ("<think>0+1=1, 7+9=16</think><answer>161</answer>", 23, true),
        ("<think>0+1=1, 7+9=6</think><answer>61</answer>", 22, true),
        ("<think>let me see, let me see, let me see,", 40, false),
    ];
    for (completion, token_count, finished) in completions {
        let graded = rubric.grade(&Attempt {
            problem: &problem,
            completion,
            token_count,
            finished,
        });
        println!("{completion}\n  total {:?}", graded.total);
        for part in graded.parts {
            println!("  {}: {:?}", part.name, part.score);
        }
    }
    Ok(())
}
