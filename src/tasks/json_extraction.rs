//! JSON extraction: fill an object with what a text says.
//!
//! A text tells facts about one or more subjects, people, orders or events, among facts about
//! others that are not asked for. The answer is a JSON object of the given schema. It is compared
//! by value: members in any order, lists in the text's order, numbers by value, texts to the
//! letter; `null` stands for what the text does not say. Members that were not asked for, a key
//! named twice and words around the object are wrong; a code fence is not.

mod domain;
mod scene;
mod words;

use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::scene::Scene;
use super::question::{Question, Wording};
use super::recorded::recorded;
use super::strict_json::{is_same, read_json};
use super::traces::{Attempt, Author, Traces};
use super::{Split, Task, levels};
use crate::data::Problem;
use crate::error::Result;
use crate::seed::Seed;

/// The hardest level.
const HIGHEST_LEVEL: u8 = 4;

/// Settings of [`JsonExtraction`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JsonExtractionConfig {
    /// Difficulty levels, drawn evenly.
    ///
    /// | level | subjects | fields | not asked for | kinds of values |
    /// |---|---|---|---|---|
    /// | 1 | 1 | 2 | nothing | texts, numbers, truths |
    /// | 2 | 1 | 4 | 1 fact of another | the same |
    /// | 3 | 1 | 5 | 2 facts of another | also lists, objects, dates and what is not said |
    /// | 4 | 2 or 3 | 4 | 2 facts of another | as in level 3, a list of objects |
    pub levels: Vec<u8>,
    /// Seed of the problems. The train/test divide does not depend on it.
    pub seed: u64,
    /// In how many words the problem is asked.
    pub wording: Wording,
    /// The make-up of pretraining traces; who slips notes a value a little wrong.
    pub traces: Traces,
}

impl Default for JsonExtractionConfig {
    fn default() -> Self {
        Self {
            levels: vec![1],
            seed: 0,
            wording: Wording::default(),
            traces: Traces::default(),
        }
    }
}

/// The task of extracting JSON.
#[derive(Clone, Debug)]
pub struct JsonExtraction {
    config: JsonExtractionConfig,
    seed: Seed,
}

/// What the verifier needs to know of a problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Extraction {
    /// The JSON Schema of a right answer.
    schema: Value,
    /// The right answer.
    expected: Value,
}

impl JsonExtraction {
    /// Checks the settings and builds the task.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn new(config: JsonExtractionConfig) -> Result<Self> {
        levels::validate(&config.levels, HIGHEST_LEVEL)?;
        config.traces.validate()?;
        let seed = Seed::new(config.seed).named("json_extraction");
        Ok(Self { config, seed })
    }
}

impl Task for JsonExtraction {
    fn name(&self) -> &'static str {
        "json_extraction"
    }

    fn problem(&self, split: Split, index: u64) -> Problem {
        let draft = |rng: &mut dyn Rng| {
            let level = levels::draw(&self.config.levels, rng);
            (level, Scene::random(level, rng))
        };
        let canonical = |(_, scene): &(u8, Scene)| scene.expected.to_string();
        let (level, scene) = split.draw(self.seed, index, draft, canonical);
        let record = Extraction {
            schema: scene.schema.clone(),
            expected: scene.expected.clone(),
        };
        Problem {
            prompt: self.config.wording.prompt(question(&scene)),
            answer: serde_json::json!(record),
            level: Some(level.to_string()),
            language: None,
            part: None,
        }
    }

    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
        let expected = Extraction::of(problem)?.expected;
        Ok(read_json(answer).is_some_and(|found| is_same(&found, &expected)))
    }

    fn trace(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<String> {
        let expected = Extraction::of(problem)?.expected;
        Ok(self
            .config
            .traces
            .write(rng, |author| note(&expected, author)))
    }
}

impl Extraction {
    fn of(problem: &Problem) -> Result<Self> {
        const EXAMPLE: &str = "{\"schema\":{..},\"expected\":{\"name\":\"Ada Brook\"}}";
        recorded("json_extraction", problem, EXAMPLE)
    }
}

fn question(scene: &Scene) -> Question {
    let (text, subjects) = (&scene.text, scene.subjects.join(", "));
    Question {
        short: format!("{text}\n{subjects}: {}", scene.outline),
        full: format!(
            "Read the text and return what it says about {subjects} as JSON in <answer> </answer> \
             tags. The JSON must follow this schema, with null for what the text does not say, \
             dates as YYYY-MM-DD and lists in the order of the text.\n\nText: {text}\n\nSchema: {}",
            scene.schema
        ),
    }
}

/// Notes one value after the other, then writes them down as JSON; who slips notes a value a
/// little wrong.
fn note(expected: &Value, author: &mut Author<'_>) -> Attempt {
    let mut noted = expected.clone();
    let mut thinking = String::new();
    let objects: Vec<&mut Value> = match &mut noted {
        Value::Object(members) if members.values().all(Value::is_array) => members
            .values_mut()
            .filter_map(Value::as_array_mut)
            .flatten()
            .collect(),
        other => vec![other],
    };
    for object in objects {
        for (key, value) in object.as_object_mut().into_iter().flatten() {
            if author.slips() {
                spoil(value);
            }
            thinking.push_str(&format!("{key}: {value}\n"));
        }
    }
    Attempt {
        thinking,
        answer: noted.to_string(),
        check: None,
    }
}

/// Makes `value` a little wrong.
fn spoil(value: &mut Value) {
    match value {
        Value::Null => *value = Value::from("none"),
        Value::Bool(truth) => *truth = !*truth,
        Value::Number(number) => *value = Value::from(number.as_f64().unwrap_or(0.0) + 1.0),
        Value::String(text) => {
            text.pop();
        }
        Value::Array(elements) => {
            elements.pop();
        }
        Value::Object(members) => {
            if let Some(value) = members.values_mut().next() {
                spoil(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::checks;

    fn task(levels: &[u8], seed: u64) -> Box<dyn Task> {
        let config = JsonExtractionConfig {
            levels: levels.to_vec(),
            seed,
            traces: Traces::careful(),
            ..JsonExtractionConfig::default()
        };
        Box::new(JsonExtraction::new(config).unwrap())
    }

    const ALL: [u8; 4] = [1, 2, 3, 4];

    /// `value` with each of its leaves and members spoiled, one at a time.
    fn spoiled(value: &Value) -> Vec<Value> {
        let mut all = Vec::new();
        if let Value::Object(members) = value {
            for (key, inner) in members {
                let mut with = |changed: Option<Value>| {
                    let mut members = members.clone();
                    members.shift_remove(key);
                    members.extend(changed.map(|value| (key.clone(), value)));
                    all.push(Value::Object(members));
                };
                with(None);
                spoiled(inner)
                    .into_iter()
                    .for_each(|inner| with(Some(inner)));
            }
            let mut more = members.clone();
            more.insert("more".into(), Value::Null);
            all.push(Value::Object(more));
        } else if let Value::Array(elements) = value {
            for (place, element) in elements.iter().enumerate() {
                for element in spoiled(element) {
                    let mut elements = elements.clone();
                    elements[place] = element;
                    all.push(Value::Array(elements));
                }
            }
            let mut longer = elements.clone();
            longer.extend(elements.last().cloned());
            all.push(Value::Array(longer));
        } else {
            let mut other = value.clone();
            spoil(&mut other);
            all.push(other);
            all.push(Value::Array(vec![value.clone()]));
        }
        all
    }

    #[test]
    fn recorded_answers_are_right_and_mutated_ones_wrong() {
        checks::assert_judged(task(&ALL, 1).as_ref(), 2000, |problem, answer| {
            let expected = Extraction::of(problem).unwrap().expected;
            let mut wrong: Vec<String> = spoiled(&expected).iter().map(Value::to_string).collect();
            assert!(wrong.len() >= 8, "{expected}");
            wrong.push(format!("Here it is: {answer}"));
            wrong.push(answer.replacen('{', "{\"name\": null, ", 1));
            wrong.push(answer.replace('"', "'"));
            wrong
        });
    }

    #[test]
    fn order_of_members_and_a_fence_do_not_matter() {
        for (problem, _) in checks::solved(task(&ALL, 3).as_ref(), 300) {
            let Value::Object(members) = Extraction::of(&problem).unwrap().expected else {
                panic!("no object");
            };
            let turned: serde_json::Map<String, Value> = members.into_iter().rev().collect();
            let answer = format!("```json\n{:#}\n```", Value::Object(turned));
            assert!(task(&ALL, 3).verify(&problem, &answer).unwrap(), "{answer}");
        }
    }

    #[test]
    fn every_text_or_number_that_is_expected_is_in_the_prompt() {
        for (problem, _) in checks::solved(task(&[1, 2], 5).as_ref(), 1000) {
            let expected = Extraction::of(&problem).unwrap().expected;
            for value in expected.as_object().unwrap().values() {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.as_f64().unwrap().to_string(),
                    _ => continue,
                };
                let prompt = checks::prompt_of(&problem);
                assert!(prompt.contains(&text), "{text}: {prompt}");
            }
        }
    }

    #[test]
    fn sides_share_no_problem() {
        for level in ALL {
            let canonical =
                |problem: &Problem| Extraction::of(problem).unwrap().expected.to_string();
            checks::assert_sides_disjoint(|seed| task(&[level], seed), 1000, canonical);
        }
    }

    #[test]
    fn problems_are_deterministic_varied_and_harder_by_level() {
        checks::assert_deterministic(|seed| task(&ALL, seed));
        checks::assert_levels_grow(4, |level| task(&[level], 1));
        for level in ALL {
            let distinct = checks::distinct_prompts(task(&[level], 4).as_ref());
            assert!(distinct >= 990, "level {level}: {distinct} of 1000");
        }
        checks::assert_refuses_foreign(task(&ALL, 1).as_ref());
    }

    #[test]
    fn first_problem_stays_as_it_is() {
        let problem = task(&[3], 0).problem(Split::Train, 0);
        let expected = "The Market Forum is hosted by Yuki Kumar. There are 101 seats for the \
            Market Forum. Amir Jansen is the host of the Budget Workshop. The Budget Workshop goes \
            on from 13 until 17 o'clock. The Market Forum goes on from 11 until 15 o'clock. The \
            speakers at the Market Forum are Chen Sato, Nils Yilmaz and Hana Novak. The Market \
            Forum costs 51 euros.\nMarket Forum: {title, hours, host, seats, speakers, fee}\n";
        assert_eq!(checks::prompt_of(&problem), expected);
    }
}
