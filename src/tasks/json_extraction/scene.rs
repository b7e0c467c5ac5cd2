//! A text, what is asked of it, and the right answer.

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};
use serde_json::{Map, Value, json};

use super::domain::{Domain, Fact, object};

/// A text with the question put to it.
pub(super) struct Scene {
    /// What the text says, about the subjects and about others.
    pub text: String,
    /// Whom or what the question is about.
    pub subjects: Vec<String>,
    /// The keys of the answer in short.
    pub outline: String,
    /// JSON Schema of the answer.
    pub schema: Value,
    /// The right answer.
    pub expected: Value,
}

/// How a level makes its texts.
struct Shape {
    subjects: usize,
    /// Facts asked for about each subject.
    facts: usize,
    /// Whether lists, objects, dates and what is not said are among them.
    structured: bool,
    /// Facts told about another subject.
    others: usize,
}

impl Shape {
    fn of(level: u8, rng: &mut dyn Rng) -> Self {
        let (subjects, facts, structured, others) = match level {
            1 => (1, 2, false, 0),
            2 => (1, 4, false, 1),
            3 => (1, 5, true, 2),
            _ => (rng.random_range(2..=3), 4, true, 2),
        };
        Self {
            subjects,
            facts,
            structured,
            others,
        }
    }
}

impl Scene {
    /// A scene of `level`.
    pub(super) fn random(level: u8, rng: &mut dyn Rng) -> Self {
        let domain = *Domain::ALL.choose(rng).expect("not empty");
        let shape = Shape::of(level, rng);
        let subjects = different_subjects(domain, shape.subjects + 1, rng);
        let (other, subjects) = subjects.split_last().expect("one more than the subjects");
        let keys = asked_keys(domain, &shape, rng);
        let mut sentences = Vec::new();
        let mut objects = Vec::new();
        let mut schema = Value::Null;
        for subject in subjects {
            let facts = asked_facts(domain, subject, &keys, rng);
            schema = object_schema(domain, &facts);
            objects.push(object_of(domain, subject, &facts));
            sentences.extend(facts.into_iter().filter_map(|fact| fact.sentence));
        }
        let told = asked_facts(domain, other, &keys, rng);
        let told = told.into_iter().filter_map(|fact| fact.sentence);
        sentences.extend(told.take(shape.others));
        sentences.shuffle(rng);
        let outline = format!("{{{}, {}}}", domain.name_key(), keys.join(", "));
        Self {
            text: sentences.join(" "),
            subjects: subjects.to_vec(),
            ..Self::asking(domain, objects, schema, outline)
        }
    }

    /// What is asked about one subject, or about several as a list.
    fn asking(domain: Domain, objects: Vec<Value>, schema: Value, outline: String) -> Self {
        let (text, subjects) = (String::new(), Vec::new());
        let key = domain.list_key();
        match <[Value; 1]>::try_from(objects) {
            Ok([expected]) => Self {
                text,
                subjects,
                outline,
                schema,
                expected,
            },
            Err(objects) => Self {
                text,
                subjects,
                outline: format!("{{{key}: [{outline}]}}"),
                schema: object(json!({ key: { "type": "array", "items": schema } })),
                expected: json!({ key: objects }),
            },
        }
    }
}

fn different_subjects(domain: Domain, count: usize, rng: &mut dyn Rng) -> Vec<String> {
    let mut subjects: Vec<String> = Vec::new();
    while subjects.len() < count {
        let subject = domain.subject(rng);
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    subjects
}

/// The keys that a schema asks for beside the name: where the shape is structured, two at least
/// are of structured facts.
fn asked_keys(domain: Domain, shape: &Shape, rng: &mut dyn Rng) -> Vec<&'static str> {
    let key = |fact: &Fact| fact.key;
    let structured = if shape.structured { 2 } else { 0 };
    let mut keys = Vec::new();
    for (is_structured, count) in [(false, shape.facts - structured), (true, structured)] {
        let facts = domain.facts("", is_structured, rng);
        keys.extend(facts.sample(rng, count).map(key));
    }
    keys.shuffle(rng);
    keys
}

/// The facts about `subject` with these keys, in their order.
fn asked_facts(
    domain: Domain,
    subject: &str,
    keys: &[&'static str],
    rng: &mut dyn Rng,
) -> Vec<Fact> {
    let mut facts = domain.facts(subject, false, rng);
    facts.extend(domain.facts(subject, true, rng));
    facts.retain(|fact| keys.contains(&fact.key));
    facts.sort_by_key(|fact| keys.iter().position(|key| *key == fact.key));
    facts
}

fn object_of(domain: Domain, subject: &str, facts: &[Fact]) -> Value {
    let name = (domain.name_key().to_string(), json!(subject));
    let values = facts
        .iter()
        .map(|fact| (fact.key.to_string(), fact.value.clone()));
    Value::Object(std::iter::once(name).chain(values).collect())
}

fn object_schema(domain: Domain, facts: &[Fact]) -> Value {
    let name = (domain.name_key().to_string(), json!({ "type": "string" }));
    let schemas = facts
        .iter()
        .map(|fact| (fact.key.to_string(), fact.schema.clone()));
    let properties: Map<String, Value> = std::iter::once(name).chain(schemas).collect();
    object(Value::Object(properties))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn answers_follow_their_schema() {
        fn follows(schema: &Value, value: &Value) -> bool {
            let kind = |name: &str| match &schema["type"] {
                Value::String(kind) => kind == name,
                Value::Array(kinds) => kinds.iter().any(|kind| kind == name),
                _ => false,
            };
            match value {
                Value::Null => kind("null"),
                Value::Bool(_) => kind("boolean"),
                Value::Number(number) => kind("number") || (kind("integer") && number.is_i64()),
                Value::String(_) => kind("string"),
                Value::Array(elements) => {
                    kind("array")
                        && elements
                            .iter()
                            .all(|value| follows(&schema["items"], value))
                }
                Value::Object(members) => {
                    let required = schema["required"].as_array().expect("a list");
                    let properties = &schema["properties"];
                    kind("object")
                        && required.len() == members.len()
                        && members
                            .iter()
                            .all(|(key, value)| follows(&properties[key], value))
                }
            }
        }
        let mut rng = Seed::new(3).rng();
        for round in 0..800_u16 {
            let scene = Scene::random((round % 4) as u8 + 1, &mut rng);
            assert!(
                follows(&scene.schema, &scene.expected),
                "{:#}",
                scene.expected
            );
            let name = |subject: &String| scene.expected.to_string().contains(subject);
            assert!(scene.subjects.iter().all(name));
        }
    }

    #[test]
    fn harder_scenes_tell_of_others_and_of_several() {
        let mut rng = Seed::new(4).rng();
        let scene = Scene::random(4, &mut rng);
        assert!(scene.subjects.len() >= 2);
        let list = scene.expected.as_object().unwrap().values().next().unwrap();
        assert_eq!(list.as_array().unwrap().len(), scene.subjects.len());
    }
}
