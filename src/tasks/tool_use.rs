//! Tool use: choose the function that a request needs, with its arguments.
//!
//! The prompt lists functions with typed parameters and asks for something. The answer is a call
//! `{"name": .., "arguments": {..}}`, or a list of calls in the order asked for where there are
//! several. It is compared by value: members in any order, numbers by value, texts to the letter.
//! An optional argument is given exactly when the request states it. Other functions, arguments
//! that were not asked for, a key named twice and words around the JSON are wrong; a code fence is
//! not.

mod catalogue;
mod requests;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::catalogue::Tool;
use self::requests::Request;
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

/// Settings of [`ToolUse`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolUseConfig {
    /// Difficulty levels, drawn evenly: 2, 4, 6 and 8 functions to choose from. Optional arguments
    /// come from level 2 on; level 4 asks for two or three calls in order.
    pub levels: Vec<u8>,
    /// Seed of the problems. The train/test divide does not depend on it.
    pub seed: u64,
    /// In how many words the problem is asked.
    pub wording: Wording,
    /// The make-up of pretraining traces; who slips takes a wrong function or argument.
    pub traces: Traces,
}

impl Default for ToolUseConfig {
    fn default() -> Self {
        Self {
            levels: vec![1],
            seed: 0,
            wording: Wording::default(),
            traces: Traces::default(),
        }
    }
}

/// The task of using tools.
#[derive(Clone, Debug)]
pub struct ToolUse {
    config: ToolUseConfig,
    seed: Seed,
}

/// One call of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    arguments: Map<String, Value>,
}

/// What the verifier needs to know of a problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Calls {
    /// The functions to choose from, as chat templates and endpoints take them.
    tools: Vec<Value>,
    /// The right calls, in order.
    calls: Vec<Call>,
}

/// A request with the functions to choose from.
struct Scene {
    tools: Vec<Tool>,
    requests: Vec<Request>,
}

impl ToolUse {
    /// Checks the settings and builds the task.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn new(config: ToolUseConfig) -> Result<Self> {
        levels::validate(&config.levels, HIGHEST_LEVEL)?;
        config.traces.validate()?;
        let seed = Seed::new(config.seed).named("tool_use");
        Ok(Self { config, seed })
    }
}

impl Task for ToolUse {
    fn name(&self) -> &'static str {
        "tool_use"
    }

    fn problem(&self, split: Split, index: u64) -> Problem {
        let draft = |rng: &mut dyn Rng| {
            let level = levels::draw(&self.config.levels, rng);
            (level, Scene::random(level, rng))
        };
        let canonical = |(_, scene): &(u8, Scene)| canonical(&scene.record().calls);
        let (level, scene) = split.draw(self.seed, index, draft, canonical);
        Problem {
            prompt: self.config.wording.prompt(scene.question()),
            answer: serde_json::json!(scene.record()),
            level: Some(level.to_string()),
            language: None,
            part: None,
        }
    }

    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
        let expected = Calls::of(problem)?.expected();
        Ok(read_json(answer).is_some_and(|found| is_same(&found, &expected)))
    }

    fn trace(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<String> {
        let record = Calls::of(problem)?;
        Ok(self
            .config
            .traces
            .write(rng, |author| record.choose(author)))
    }
}

/// The same text for the same calls, whatever functions were offered and however it was asked.
fn canonical(calls: &[Call]) -> String {
    serde_json::json!(calls).to_string()
}

impl Scene {
    fn random(level: u8, rng: &mut dyn Rng) -> Self {
        let (offered, asked) = match level {
            1 => (2, 1),
            2 => (4, 1),
            3 => (6, 1),
            _ => (8, rng.random_range(2..=3)),
        };
        let mut tools: Vec<Tool> = Tool::ALL.sample(rng, offered).copied().collect();
        let wanted = tools[..asked].to_vec();
        let mut request = |tool: Tool| tool.request(level >= 2, rng);
        let requests = wanted.into_iter().map(&mut request).collect();
        tools.shuffle(rng);
        Self { tools, requests }
    }

    fn record(&self) -> Calls {
        let call = |request: &Request| Call {
            name: request.tool.name().into(),
            arguments: request.arguments.clone(),
        };
        Calls {
            tools: self.tools.iter().map(|tool| tool.definition()).collect(),
            calls: self.requests.iter().map(call).collect(),
        }
    }

    fn question(&self) -> Question {
        let signatures: Vec<String> = self.tools.iter().map(|tool| tool.signature()).collect();
        let signatures = signatures.join("\n");
        let texts: Vec<&str> = self
            .requests
            .iter()
            .map(|request| request.text.as_str())
            .collect();
        let request = texts.join(" Then: ");
        let form = match texts.len() {
            1 => "{\"name\": .., \"arguments\": {..}}",
            _ => "[{\"name\": .., \"arguments\": {..}}, ..] in the order asked for",
        };
        Question {
            short: format!("{signatures}\n{request}"),
            full: format!(
                "You can call these functions; parameters with ? are optional and are given only \
                 when asked for.\n\n{signatures}\n\nRequest: {request}\n\nReturn what to call as \
                 JSON {form} in <answer> </answer> tags."
            ),
        }
    }
}

impl Calls {
    fn of(problem: &Problem) -> Result<Self> {
        const EXAMPLE: &str = "{\"tools\":[..],\"calls\":[{\"name\":\"get_time\",\"arguments\":{\"city\":\"Oslo\"}}]}";
        recorded("tool_use", problem, EXAMPLE)
    }

    fn expected(&self) -> Value {
        match self.calls.as_slice() {
            [call] => serde_json::json!(call),
            calls => serde_json::json!(calls),
        }
    }

    /// Names the function and each argument, then writes the call; who slips takes another
    /// function or a value a little wrong.
    fn choose(&self, author: &mut Author<'_>) -> Attempt {
        let mut chosen = self.clone();
        let mut thinking = String::new();
        for call in &mut chosen.calls {
            if author.slips() {
                let other = self.tools.choose(author.rng);
                let name = other.and_then(|tool| tool["function"]["name"].as_str());
                call.name = name.unwrap_or_default().into();
            }
            thinking.push_str(&format!("call {}\n", call.name));
            for (key, value) in &mut call.arguments {
                if author.slips() {
                    *value = match &*value {
                        Value::Number(number) => (number.as_i64().unwrap_or(0) + 1).into(),
                        _ => Value::Null,
                    };
                }
                thinking.push_str(&format!("{key}: {value}\n"));
            }
        }
        Attempt {
            thinking,
            answer: chosen.expected().to_string(),
            check: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::checks;

    fn task(levels: &[u8], seed: u64) -> Box<dyn Task> {
        let config = ToolUseConfig {
            levels: levels.to_vec(),
            seed,
            traces: Traces::careful(),
            ..ToolUseConfig::default()
        };
        Box::new(ToolUse::new(config).unwrap())
    }

    const ALL: [u8; 4] = [1, 2, 3, 4];

    /// `calls` with each call changed in every way, one at a time.
    fn spoiled(calls: &Calls) -> Vec<String> {
        let mut wrong = Vec::new();
        for place in 0..calls.calls.len() {
            let mut with = |change: &dyn Fn(&mut Call)| {
                let mut other = calls.clone();
                change(&mut other.calls[place]);
                wrong.push(other.expected().to_string());
            };
            with(&|call| call.name.push('s'));
            with(&|call| drop(call.arguments.insert("more".into(), Value::Null)));
            for key in calls.calls[place].arguments.keys() {
                with(&|call| drop(call.arguments.shift_remove(key)));
                with(&|call| drop(call.arguments.insert(key.clone(), Value::Null)));
                with(&|call| {
                    let value = call.arguments[key].to_string();
                    call.arguments.insert(key.clone(), value.into());
                });
            }
            let mut fewer = calls.clone();
            fewer.calls.remove(place);
            wrong.push(fewer.expected().to_string());
            let mut more = calls.clone();
            more.calls.push(calls.calls[place].clone());
            wrong.push(more.expected().to_string());
        }
        let mut turned = calls.clone();
        turned.calls.reverse();
        wrong.push(turned.expected().to_string());
        wrong
    }

    #[test]
    fn recorded_answers_are_right_and_mutated_ones_wrong() {
        checks::assert_judged(task(&ALL, 1).as_ref(), 2000, |problem, answer| {
            let calls = Calls::of(problem).unwrap();
            let mut wrong = spoiled(&calls);
            wrong.retain(|text| text != answer);
            assert!(wrong.len() >= 5);
            wrong.push(format!("I call {answer}"));
            wrong.push(answer.replace("\"arguments\"", "\"parameters\""));
            wrong.push(answer.replacen("\"name\"", "\"name\": 1, \"name\"", 1));
            wrong
        });
    }

    #[test]
    fn every_value_is_in_the_request() {
        for (problem, _) in checks::solved(task(&ALL, 2).as_ref(), 1000) {
            let prompt = checks::prompt_of(&problem).to_lowercase();
            for call in Calls::of(&problem).unwrap().calls {
                assert!(prompt.contains(&call.name));
                for value in call.arguments.values() {
                    let text = match value {
                        Value::String(text) => text.to_lowercase(),
                        Value::Bool(_) => continue,
                        other => other.to_string(),
                    };
                    assert!(prompt.contains(&text), "{text}: {prompt}");
                }
            }
        }
    }

    #[test]
    fn sides_share_no_problem() {
        for level in ALL {
            let canonical = |problem: &Problem| canonical(&Calls::of(problem).unwrap().calls);
            checks::assert_sides_disjoint(|seed| task(&[level], seed), 1000, canonical);
        }
    }

    #[test]
    fn problems_are_deterministic_varied_and_harder_by_level() {
        checks::assert_deterministic(|seed| task(&ALL, seed));
        for level in ALL {
            let distinct = checks::distinct_prompts(task(&[level], 4).as_ref());
            assert!(distinct >= 950, "level {level}: {distinct} of 1000");
        }
        let length = |level| {
            let problem = |index| task(&[level], 1).problem(Split::Train, index);
            (0..200)
                .map(|index| checks::prompt_of(&problem(index)).len())
                .sum::<usize>()
        };
        assert!(ALL.map(length).is_sorted_by(|a, b| a < b));
        checks::assert_refuses_foreign(task(&ALL, 1).as_ref());
    }

    #[test]
    fn first_problem_stays_as_it_is() {
        let problem = task(&[2], 0).problem(Split::Train, 0);
        let expected = "add_to_list(item: string, count: integer): goods on the shopping list\n\
            set_alarm(hour: integer, minute: integer, day?: string): alarm at a time of day\n\
            switch_light(room: string, on: boolean, color?: string): light in a room on or off\n\
            get_time(city: string): time of day in a city\nI need an alarm at 21:41.\n";
        assert_eq!(checks::prompt_of(&problem), expected);
    }
}
