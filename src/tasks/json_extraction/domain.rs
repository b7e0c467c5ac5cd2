//! What texts are about: people, orders, events, and the facts that can be told of them.

mod event;
mod order;
mod person;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde_json::{Value, json};

use super::words;

/// A kind of subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Domain {
    Person,
    Order,
    Event,
}

/// One fact about a subject.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fact {
    pub key: &'static str,
    pub value: Value,
    /// How the text tells it; `None` for what is not said, whose value is null.
    pub sentence: Option<String>,
    /// JSON Schema of the value.
    pub schema: Value,
}

impl Domain {
    pub(super) const ALL: [Self; 3] = [Self::Person, Self::Order, Self::Event];

    /// The key that holds a subject's name.
    pub(super) fn name_key(self) -> &'static str {
        match self {
            Self::Person => "name",
            Self::Order => "order",
            Self::Event => "title",
        }
    }

    /// The key of a list of subjects.
    pub(super) fn list_key(self) -> &'static str {
        match self {
            Self::Person => "people",
            Self::Order => "orders",
            Self::Event => "events",
        }
    }

    /// A subject's name.
    pub(super) fn subject(self, rng: &mut dyn Rng) -> String {
        match self {
            Self::Person => person(rng),
            Self::Order => {
                let letter = char::from(b'A' + rng.random_range(0..26));
                format!("{letter}-{}", rng.random_range(1000..10_000))
            }
            Self::Event => {
                let (topic, kind) = (pick(&words::TOPICS, rng), pick(&words::MEETINGS, rng));
                format!("{topic} {kind}")
            }
        }
    }

    /// Every fact about `subject` that a schema may ask for: plain ones first, then, where
    /// `structured` asks for them, lists, objects, dates and what is not said.
    pub(super) fn facts(self, subject: &str, structured: bool, rng: &mut dyn Rng) -> Vec<Fact> {
        match (self, structured) {
            (Self::Person, false) => person::plain(subject, rng),
            (Self::Person, true) => person::structured(subject, rng),
            (Self::Order, false) => order::plain(subject, rng),
            (Self::Order, true) => order::structured(subject, rng),
            (Self::Event, false) => event::plain(subject, rng),
            (Self::Event, true) => event::structured(subject, rng),
        }
    }
}

/// A fact told in one of two ways.
fn fact(
    key: &'static str,
    value: Value,
    schema: Value,
    sentences: [String; 2],
    rng: &mut dyn Rng,
) -> Fact {
    Fact {
        key,
        value,
        sentence: sentences.choose(rng).cloned(),
        schema,
    }
}

/// The schema of a plain value.
fn of(kind: &str) -> Value {
    json!({ "type": kind })
}

/// The schema of an object with exactly these members.
pub(super) fn object(properties: Value) -> Value {
    let required: Vec<String> = match &properties {
        Value::Object(members) => members.keys().cloned().collect(),
        _ => Vec::new(),
    };
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

fn pick(words: &[&'static str], rng: &mut dyn Rng) -> &'static str {
    words
        .choose(rng)
        .copied()
        .expect("word lists are not empty")
}

/// Different words, as many as a draw from `count`.
fn several(
    words: &[&'static str],
    count: std::ops::RangeInclusive<usize>,
    rng: &mut dyn Rng,
) -> Vec<&'static str> {
    let count = rng.random_range(count);
    words.sample(rng, count).copied().collect()
}

fn person(rng: &mut dyn Rng) -> String {
    let (first, last) = (
        pick(&words::FIRST_NAMES, rng),
        pick(&words::LAST_NAMES, rng),
    );
    format!("{first} {last}")
}

/// A price in steps of a quarter, which a float holds exactly.
fn price(rng: &mut dyn Rng) -> f64 {
    f64::from(rng.random_range(4..400)) / 4.0
}

/// A date as `YYYY-MM-DD` and as people write it.
fn date(years: std::ops::RangeInclusive<u32>, rng: &mut dyn Rng) -> (String, String) {
    let (year, month) = (rng.random_range(years), rng.random_range(1..=12));
    let day = rng.random_range(1..=28);
    let name = words::MONTHS[month - 1];
    (
        format!("{year}-{month:02}-{day:02}"),
        format!("{day} {name} {year}"),
    )
}

/// `a, b and c`.
fn listed<T: AsRef<str>>(parts: &[T]) -> String {
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    match parts.split_last() {
        Some((last, [])) => (*last).into(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn lists_read_as_people_write_them() {
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        assert_eq!(listed(&["a"]), "a");
    }

    #[test]
    fn facts_have_different_keys_and_say_what_they_hold() {
        let mut rng = Seed::new(1).rng();
        for domain in Domain::ALL {
            for _ in 0..200 {
                let subject = domain.subject(&mut rng);
                let mut facts = domain.facts(&subject, false, &mut rng);
                facts.extend(domain.facts(&subject, true, &mut rng));
                let mut keys: Vec<_> = facts.iter().map(|fact| fact.key).collect();
                keys.sort_unstable();
                keys.dedup();
                assert_eq!(keys.len(), facts.len());
                assert!(!keys.contains(&domain.name_key()));
                for fact in facts {
                    assert_eq!(fact.sentence.is_none(), fact.value.is_null());
                    assert!(
                        fact.sentence
                            .is_none_or(|sentence| sentence.contains(&subject))
                    );
                }
            }
        }
    }
}
