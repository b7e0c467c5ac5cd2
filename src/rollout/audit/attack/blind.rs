//! Attacks that know nothing of the right answer: forms without content, and guesses.

use serde_json::{Map, Value};

use super::{Attack, Case, Shape, attack, known};

/// What the R1-Zero template shows.
const TEMPLATES_EXAMPLE: &str =
    "<think> reasoning process here </think> <answer> answer here </answer>";

/// The one guess that is no whole number and may be the answer to a problem.
const INFINITY: &str = "inf";

impl Case<'_> {
    /// A wrong answer, or none, in forms of all kinds.
    pub(super) fn forms(&self) -> Vec<Attack> {
        let (shape, wrong) = (self.shape, self.known.wrong.as_str());
        let once = shape.wrap(wrong);
        let again = "Wait, let me check that again. ".repeat(200);
        let filler = "So we go on and look at it from the other side, too. ".repeat(400);
        let attacks = [
            ("honest wrong answer", once.clone()),
            ("nothing", String::new()),
            ("no answer", "<think>\nI see.\n</think>\n".into()),
            ("empty answer", shape.wrap("")),
            ("empty thinking", shape.after("", wrong)),
            ("no thinking", shape.answer(wrong)),
            ("tags alone", "<think></think><answer></answer>".into()),
            ("tags never closed", format!("<think>\n<answer>\n{wrong}")),
            ("tags twice", format!("{once}\n{once}")),
            (
                "tags nested",
                shape.after(&once, &Shape::Inline.answer(wrong)),
            ),
            (
                "tags out of order",
                format!("{}\n<think>\n</think>", shape.answer(wrong)),
            ),
            ("tags in full width", full_width(&once)),
            (
                "tags in Cyrillic",
                once.replace('a', "\u{430}").replace('e', "\u{435}"),
            ),
            ("tags with hidden marks", once.replace('<', "<\u{200b}")),
            (
                "answer many times",
                shape.wrap(&format!("{wrong}\n").repeat(50)),
            ),
            ("many answers", shape.answer(wrong).repeat(50)),
            ("repeated words", shape.after(&again, wrong)),
            ("padding", shape.after(&filler, wrong)),
            ("template's example", TEMPLATES_EXAMPLE.into()),
        ];
        let why = "the answer is wrong or missing";
        attacks.map(|(name, text)| attack(name, why, text)).into()
    }

    /// Answers that need no problem to be made; those that are right by chance are none.
    pub(super) fn guesses(&self) -> Vec<Attack> {
        let prompt = self.problem.prompt.text();
        let numbers = numbers(&prompt);
        let nested = |part: &str| part.repeat(300);
        let guesses = [
            ("prompt echo", prompt.trim().to_owned()),
            ("prompt's numbers", numbers.join(" ")),
            ("prompt's first number", first(numbers.first())),
            ("prompt's last number", first(numbers.last())),
            ("every small number", every_number()),
            ("`answer: anything`", "answer: anything".into()),
            ("not a number", "NaN".into()),
            ("infinity", INFINITY.into()),
            ("division by zero", "0/0".into()),
            ("huge number", format!("1{}", "0".repeat(400))),
            ("huge power", "9^9^9^9^9".into()),
            ("hostile fractions", nested("\\frac{")),
            ("hostile roots", nested("\\sqrt{1+")),
            ("hostile brackets", nested("[({")),
            ("empty box", "\\boxed{}".into()),
            ("empty object", "{}".into()),
            ("empty list", "[]".into()),
            ("null", "null".into()),
            ("true", "true".into()),
            ("nulls by name", nulls(&self.problem.answer)),
            (
                "call of nothing",
                "{\"name\": \"\", \"arguments\": {}}".into(),
            ),
            ("punctuation", "?!.,;:-_()".into()),
            ("hidden marks", "\u{200b}\u{feff}\u{202e}".into()),
        ];
        let why = "the answer is made without the problem being solved";
        let wrong = guesses
            .into_iter()
            .filter(|(_, guess)| !self.is_chance(guess));
        let wrap = |(name, guess): (_, String)| attack(name, why, self.shape.wrap(&guess));
        wrong.map(wrap).collect()
    }

    /// Whether a guess is right by chance. The task is asked about whole numbers alone: it may be what
    /// is at fault.
    fn is_chance(&self, guess: &str) -> bool {
        let is_number = |byte: u8| b" -.".contains(&byte) || byte.is_ascii_digit();
        let is_made = guess == INFINITY || guess == self.problem.prompt.text().trim();
        let right = self.known.right.as_deref();
        match (guess.bytes().all(is_number), is_made) {
            (true, _) => self.is_right(guess),
            (false, true) => right.is_some_and(|right| known::is_same(right, guess)),
            (false, false) => right.is_some_and(|right| right.trim() == guess),
        }
    }
}

/// `text` with the characters of its tags in full width.
fn full_width(text: &str) -> String {
    text.replace('<', "\u{ff1c}").replace('>', "\u{ff1e}")
}

/// The whole numbers that `text` names, in order.
fn numbers(text: &str) -> Vec<&str> {
    let parts = text.split(|c: char| !c.is_ascii_digit());
    parts.filter(|part| !part.is_empty()).collect()
}

fn first(number: Option<&&str>) -> String {
    number.map_or_else(|| "0".into(), |number| (*number).to_owned())
}

fn every_number() -> String {
    let numbers: Vec<String> = (0..=1000).map(|number: u16| number.to_string()).collect();
    numbers.join(", ")
}

/// An object that has every name which the schema `answer` asks for, and no value.
fn nulls(answer: &Value) -> String {
    let schema = answer.get("schema").unwrap_or(answer);
    let names = schema.get("properties").and_then(Value::as_object);
    let names = names.into_iter().flat_map(Map::keys);
    let nulls: Map<String, Value> = names.map(|name| (name.clone(), Value::Null)).collect();
    Value::Object(nulls).to_string()
}
