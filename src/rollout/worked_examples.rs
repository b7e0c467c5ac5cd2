//! Worked examples before a question: few-shot prompts.
//!
//! The examples are problems of a task's training side, so none is asked, each with a completion that
//! the evaluation itself would judge right. A text has them before it, in one text; the user's lone
//! message has them as turns before it.

use std::collections::HashSet;
use std::iter::once;

use rand::{Rng, RngExt};
use serde_json::Value;

use crate::data::{Problem, Prompt};
use crate::error::{Error, Result};
use crate::rewards::Accuracy;
use crate::seed::Seed;
use crate::tasks::{Split, Task};
use crate::tokenizer::{Message, Role};

/// Problems that examples of a task without end are chosen from.
const CHOSEN_FROM: usize = 4096;

/// Problems looked at for each example wanted, after which a task is taken to have no more.
const MOST_PROBLEMS: usize = 50;

/// Traces drawn of a problem until one is right.
const MOST_TRACES: usize = 50;

/// Problems with right completions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkedExamples {
    examples: Vec<WorkedExample>,
}

#[derive(Clone, Debug, PartialEq)]
struct WorkedExample {
    question: String,
    completion: String,
}

impl WorkedExamples {
    /// Draws `count` examples of `task` from `seed`, no question twice; fewer are the first of more.
    ///
    /// A completion is a trace of the task that `accuracy` judges right, or the reference answer
    /// where the task has no traces.
    ///
    /// # Errors
    /// When the task has too few problems to train on that such a completion is found for, one of
    /// them is a conversation, or the verifier fails.
    pub fn draw(task: &dyn Task, count: usize, accuracy: &Accuracy, seed: Seed) -> Result<Self> {
        let mut drawn = Self::default();
        let size = task.size(Split::Train).unwrap_or(CHOSEN_FROM) as u64;
        let mut rng = seed.rng();
        let mut asked = HashSet::new();
        let looks = if size == 0 { 0 } else { count * MOST_PROBLEMS };
        for _ in 0..looks {
            if drawn.examples.len() == count {
                break;
            }
            let problem = task.problem(Split::Train, rng.random_range(0..size));
            let question = question(&problem.prompt)?.to_string();
            if asked.insert(question.clone())
                && let Some(completion) = right_completion(task, &problem, accuracy, &mut rng)?
            {
                drawn.examples.push(WorkedExample {
                    question,
                    completion,
                });
            }
        }
        match drawn.examples.len() {
            found if found == count => Ok(drawn),
            found => {
                let problem = format!(
                    "asks for {count} worked examples, but only {found} problems to train on have a \
                     right completion; expected fewer, or a task with more of them"
                );
                Err(Error::setting("eval.shots", problem))
            }
        }
    }

    /// `problem` with the first `count` examples before its question.
    ///
    /// # Errors
    /// When there are examples and the problem is a conversation of more than the user's one message.
    pub fn before(&self, problem: &Problem, count: usize) -> Result<Problem> {
        let examples = &self.examples[..count.min(self.examples.len())];
        if examples.is_empty() {
            return Ok(problem.clone());
        }
        let asked = question(&problem.prompt)?;
        let prompt = match &problem.prompt {
            Prompt::Text(_) => {
                let before: String = examples.iter().map(WorkedExample::text).collect();
                Prompt::Text(before + asked)
            }
            Prompt::Messages(messages) => {
                let turns = examples.iter().flat_map(WorkedExample::turns);
                Prompt::Messages(turns.chain(messages.iter().cloned()).collect())
            }
        };
        Ok(Problem {
            prompt,
            ..problem.clone()
        })
    }
}

impl WorkedExample {
    /// Question, completion and a blank line.
    fn text(&self) -> String {
        let end = if self.question.ends_with(char::is_whitespace) {
            ""
        } else {
            "\n"
        };
        format!("{}{end}{}\n\n", self.question, self.completion)
    }

    fn turns(&self) -> impl Iterator<Item = Message> {
        let asked = Message::user(self.question.as_str());
        once(asked).chain(once(Message::assistant(self.completion.as_str())))
    }
}

/// The text or the user's lone message.
fn question(prompt: &Prompt) -> Result<&str> {
    let lone = match prompt {
        Prompt::Text(text) => Some(text.as_str()),
        Prompt::Messages(messages) => match messages.as_slice() {
            [message] if message.role == Role::User => message.content.as_deref(),
            _ => None,
        },
    };
    lone.ok_or_else(|| {
        let problem = "worked examples go before texts or the user's lone message, but a prompt is a \
                       longer conversation; expected 0";
        Error::setting("eval.shots", problem)
    })
}

/// A trace that is right, else the reference in the form that is judged right, if there is one.
fn right_completion(
    task: &dyn Task,
    problem: &Problem,
    accuracy: &Accuracy,
    rng: &mut dyn Rng,
) -> Result<Option<String>> {
    for _ in 0..MOST_TRACES {
        // A task without traces says so at the first.
        let Ok(trace) = task.trace(problem, rng) else {
            break;
        };
        if is_right(accuracy, problem, &trace)? {
            return Ok(Some(trace));
        }
    }
    let reference = match &problem.answer {
        Value::Null => return Ok(None),
        Value::String(text) => text.trim().to_string(),
        value => value.to_string(),
    };
    for completion in [format!("<answer>{reference}</answer>"), reference] {
        if is_right(accuracy, problem, &completion)? {
            return Ok(Some(completion));
        }
    }
    Ok(None)
}

fn is_right(accuracy: &Accuracy, problem: &Problem, completion: &str) -> Result<bool> {
    match accuracy.extract(completion) {
        Some(answer) => Ok(accuracy.is_right(problem, answer)?.unwrap_or(false)),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::rewards::AnswerSource;
    use crate::tasks::TaskConfig;

    fn task(config: &str) -> Arc<dyn Task> {
        let config: TaskConfig = toml::from_str(config).unwrap();
        Arc::from(config.build().unwrap())
    }

    fn draw(task: &Arc<dyn Task>, source: AnswerSource, count: usize) -> Result<WorkedExamples> {
        let accuracy = Accuracy::new(source, Some(task.clone()));
        WorkedExamples::draw(task.as_ref(), count, &accuracy, Seed::new(7))
    }

    fn problem(prompt: Prompt) -> Problem {
        Problem {
            prompt,
            answer: json!("2"),
            level: None,
            language: None,
            part: None,
        }
    }

    fn worked() -> WorkedExamples {
        let example = |question: &str, completion: &str| WorkedExample {
            question: question.into(),
            completion: completion.into(),
        };
        WorkedExamples {
            examples: vec![
                example("1+2?\n", "<answer>3</answer>"),
                example("2+2?", "4"),
            ],
        }
    }

    /// The folder and a task of three sums to train on.
    fn file() -> (tempfile::TempDir, Arc<dyn Task>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.jsonl");
        let lines = r#"{"prompt": "1+1", "answer": 2}
            {"prompt": "1+2", "answer": " 3 "}
            {"prompt": "hello", "answer": null}"#;
        std::fs::write(&path, lines).unwrap();
        let task = task(&format!("kind = \"jsonl\"\ntrain = {path:?}"));
        (folder, task)
    }

    #[test]
    fn generated_examples_are_right_different_and_the_same_for_a_seed() {
        for kind in ["countdown", "linear_equations", "bilingual"] {
            let task = task(&format!("kind = \"{kind}\""));
            let drawn = draw(&task, AnswerSource::AfterThink, 4).unwrap();
            let questions: HashSet<_> = drawn.examples.iter().map(|e| &e.question).collect();
            assert_eq!(questions.len(), 4);
            for example in &drawn.examples {
                assert!(example.completion.contains("<answer>"), "{example:?}");
            }
            assert_eq!(draw(&task, AnswerSource::AfterThink, 4).unwrap(), drawn);
            let fewer = draw(&task, AnswerSource::AfterThink, 2).unwrap();
            assert_eq!(fewer.examples, drawn.examples[..2]);
        }
    }

    #[test]
    fn a_file_gives_its_reference_as_it_is_judged() {
        let (_folder, task) = file();
        for (source, two) in [
            (AnswerSource::AfterThink, "<answer>2</answer>"),
            (AnswerSource::Text, "2"),
        ] {
            let drawn = draw(&task, source, 2).unwrap();
            let of = |question: &str| drawn.examples.iter().find(|e| e.question == question);
            assert_eq!(of("1+1").unwrap().completion, two);
            assert!(of("1+2").unwrap().completion.contains('3'));
        }
    }

    #[test]
    fn more_examples_than_problems_with_an_answer_are_refused() {
        let (_folder, task) = file();
        let error = draw(&task, AnswerSource::AfterThink, 3).unwrap_err();
        let expected = "`eval.shots`: asks for 3 worked examples, but only 2 problems";
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    #[test]
    fn a_text_has_examples_and_blank_lines_before_it() {
        let asked = problem(Prompt::Text("1+1?".into()));
        let one = worked().before(&asked, 1).unwrap();
        assert_eq!(
            one.prompt,
            Prompt::Text("1+2?\n<answer>3</answer>\n\n1+1?".into())
        );
        let two = worked().before(&asked, 2).unwrap();
        assert_eq!(
            two.prompt,
            Prompt::Text("1+2?\n<answer>3</answer>\n\n2+2?\n4\n\n1+1?".into())
        );
        assert_eq!(two.answer, asked.answer);
        assert_eq!(worked().before(&asked, 0).unwrap(), asked);
    }

    #[test]
    fn a_lone_message_has_turns_before_it() {
        let asked = problem(Prompt::Messages(vec![Message::user("1+1?")]));
        let put = worked().before(&asked, 1).unwrap();
        let expected = vec![
            Message::user("1+2?\n"),
            Message::assistant("<answer>3</answer>"),
            Message::user("1+1?"),
        ];
        assert_eq!(put.prompt, Prompt::Messages(expected));
    }

    #[test]
    fn a_conversation_is_refused_by_the_name_of_the_setting() {
        let messages = vec![Message::system("s"), Message::user("1+1?")];
        let asked = problem(Prompt::Messages(messages));
        let message = worked().before(&asked, 1).unwrap_err().to_string();
        assert!(message.starts_with("`eval.shots`: "), "{message}");
        assert!(worked().before(&asked, 0).is_ok());
    }
}
