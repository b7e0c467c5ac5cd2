//! Where a reward model's data comes from: a file, or the annotators of a task.

use std::path::Path;

use super::RewardModelConfig;
use super::config::Origin;
use crate::data::{
    Example, LabelledCompletion, Preference, Problem, Prompt, RatedPreference, read_labelled,
    read_rated_preferences,
};
use crate::error::{Error, Result};
use crate::seed::Seed;
use crate::tasks::{Split, Task, TaskConfig};
use crate::train::loss::RewardLossKind;

/// Problems in a row after which a task without another annotated one is given up.
const PATIENCE: u64 = 1000;

/// A pair or a labelled completion as it was given.
pub(super) struct Source {
    /// The prompt.
    pub prompt: Prompt,
    /// The chosen and the rejected completion, or one.
    pub completions: Vec<Prompt>,
    /// What each should be worth.
    pub targets: Vec<f32>,
}

impl Source {
    /// All of the data of `config`; `seed` is the stage's.
    ///
    /// # Errors
    /// When the file or a line of it is broken, or the task has too few annotated problems.
    pub(super) fn read_all(config: &RewardModelConfig, seed: Seed) -> Result<Vec<Self>> {
        match config.origin()? {
            Origin::File(path) => Self::of_file(path, config.loss),
            Origin::Task { task, examples } => {
                Self::of_task(task, examples, config.loss, seed.named("annotators"))
            }
        }
    }

    fn of_file(path: &Path, loss: RewardLossKind) -> Result<Vec<Self>> {
        Ok(match loss {
            RewardLossKind::Pairwise => (read_rated_preferences(path)?.into_iter())
                .map(Self::of_preference)
                .collect(),
            RewardLossKind::Pointwise => (read_labelled(path)?.into_iter())
                .map(Self::of_labelled)
                .collect(),
        })
    }

    /// What annotators say of the first training problems that they have an opinion on.
    fn of_task(
        config: &TaskConfig,
        examples: usize,
        loss: RewardLossKind,
        seed: Seed,
    ) -> Result<Vec<Self>> {
        let task = config.build()?;
        let wanted = match loss {
            RewardLossKind::Pairwise => "preferences",
            RewardLossKind::Pointwise => "labels",
        };
        let mut sources = Vec::new();
        let mut index = 0;
        let mut given_up = match task.size(Split::Train) {
            Some(0) => 0,
            _ => PATIENCE,
        };
        while sources.len() < examples && index < given_up {
            let problem = task.problem(Split::Train, index);
            let source = Self::of_problem(task.as_ref(), &problem, loss, seed.child(index))?;
            index += 1;
            if let Some(source) = source {
                sources.push(source);
                given_up = index + PATIENCE;
            }
        }
        if sources.len() < examples {
            let problem = format!(
                "`{}` has {} {wanted} for its first {index} problems, expected a task whose \
                 annotators give {examples}, as `notes`",
                task.name(),
                sources.len(),
            );
            return Err(Error::setting("task", problem));
        }
        Ok(sources)
    }

    fn of_problem(
        task: &dyn Task,
        problem: &Problem,
        loss: RewardLossKind,
        seed: Seed,
    ) -> Result<Option<Self>> {
        let mut rng = seed.rng();
        Ok(match loss {
            RewardLossKind::Pairwise => {
                let rated = task.preference(problem, &mut rng)?;
                rated.map(Self::of_preference)
            }
            RewardLossKind::Pointwise => {
                let labelled = task.labelled(problem, &mut rng)?;
                labelled.map(Self::of_labelled)
            }
        })
    }

    fn of_preference(rated: RatedPreference) -> Self {
        let (prompt, completions) = match rated.preference {
            Preference::Text {
                prompt,
                chosen,
                rejected,
            } => (Prompt::Text(prompt), [chosen, rejected].map(Prompt::Text)),
            Preference::Chat {
                prompt,
                chosen,
                rejected,
            } => (
                Prompt::Messages(prompt),
                [chosen, rejected].map(Prompt::Messages),
            ),
        };
        Self {
            prompt,
            completions: completions.to_vec(),
            targets: vec![rated.margin, 0.0],
        }
    }

    fn of_labelled(labelled: LabelledCompletion) -> Self {
        let (prompt, completion) = match labelled.example {
            Example::TextCompletion { prompt, completion } => {
                (Prompt::Text(prompt), Prompt::Text(completion))
            }
            Example::ChatCompletion { prompt, completion } => {
                (Prompt::Messages(prompt), Prompt::Messages(completion))
            }
            Example::Text(_) | Example::Chat(_) => {
                unreachable!("a labelled completion has a prompt")
            }
        };
        Self {
            prompt,
            completions: vec![completion],
            targets: vec![f32::from(labelled.label)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(settings: &str, seed: u64) -> Result<Vec<Source>> {
        let config: RewardModelConfig = toml::from_str(settings).unwrap();
        Source::read_all(&config, Seed::new(seed))
    }

    fn texts(sources: &[Source]) -> Vec<String> {
        let text = |prompt: &Prompt| prompt.text().into_owned();
        let of = |source: &Source| {
            let completions = source.completions.iter().map(text);
            text(&source.prompt) + &completions.collect::<String>()
        };
        sources.iter().map(of).collect()
    }

    const NOTES: &str = "task = { kind = 'notes', traces = { trail_off = 0.0 } }";

    #[test]
    fn annotators_give_as_many_as_are_asked_for_the_same_for_a_seed() {
        let pairs = sources(&format!("{NOTES}\nexamples = 30"), 1).unwrap();
        assert_eq!(pairs.len(), 30);
        for pair in &pairs {
            assert_eq!(pair.targets, [0.0, 0.0]);
            assert_eq!(pair.completions.len(), 2);
            assert!(pair.prompt.text().starts_with("Write a note to "));
            assert!(pair.prompt.text().ends_with(".\n"));
        }
        let again = |seed| texts(&sources(&format!("{NOTES}\nexamples = 30"), seed).unwrap());
        assert_eq!(again(1), texts(&pairs));
        assert_ne!(again(2), texts(&pairs));
        let fewer = sources(&format!("{NOTES}\nexamples = 7"), 1).unwrap();
        assert_eq!(texts(&fewer), texts(&pairs)[..7]);
    }

    #[test]
    fn labels_are_of_single_completions() {
        let settings = format!("{NOTES}\nexamples = 200\nloss = 'pointwise'");
        let labelled = sources(&settings, 1).unwrap();
        let good = labelled
            .iter()
            .filter(|source| source.targets == [1.0])
            .count();
        let bad = labelled
            .iter()
            .filter(|source| source.targets == [0.0])
            .count();
        assert_eq!(good + bad, 200);
        assert!((40..110).contains(&bad), "{bad}");
        assert!(labelled.iter().all(|source| source.completions.len() == 1));
    }

    #[test]
    fn problems_that_nobody_annotates_are_passed_over() {
        let parts = "[{ name = 'sums', share = 0.75, task = { kind = 'arithmetic' } }, \
                     { name = 'notes', share = 0.25, task = { kind = 'notes' } }]";
        let settings = format!("task = {{ kind = 'mixture', parts = {parts} }}\nexamples = 20");
        assert_eq!(sources(&settings, 1).unwrap().len(), 20);
        for (loss, wanted) in [("pairwise", "preferences"), ("pointwise", "labels")] {
            let settings =
                format!("task = {{ kind = 'arithmetic' }}\nexamples = 5\nloss = '{loss}'");
            let message = sources(&settings, 1).err().unwrap().to_string();
            let expected =
                format!("`task`: `arithmetic` has 0 {wanted} for its first 1000 problems");
            assert!(message.starts_with(&expected), "{message}");
        }
    }
}
