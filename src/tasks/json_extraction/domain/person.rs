//! Facts about people.

use rand::{Rng, RngExt};
use serde_json::{Value, json};

use super::{Fact, date, fact, listed, object, of, pick, several};
use crate::tasks::json_extraction::words;

/// Texts, numbers and truths.
pub(super) fn plain(who: &str, rng: &mut dyn Rng) -> Vec<Fact> {
    let age = rng.random_range(18..90);
    let city = pick(&words::CITIES, rng);
    let occupation = pick(&words::OCCUPATIONS, rng);
    let married = rng.random_bool(0.5);
    let height = rng.random_range(150..200);
    let is = if married { "is" } else { "is not" };
    vec![
        fact(
            "age",
            json!(age),
            of("integer"),
            [
                format!("{who} is {age} years old."),
                format!("{who} turned {age} this year."),
            ],
            rng,
        ),
        fact(
            "city",
            json!(city),
            of("string"),
            [
                format!("{who} lives in {city}."),
                format!("The home of {who} is in {city}."),
            ],
            rng,
        ),
        fact(
            "occupation",
            json!(occupation),
            of("string"),
            [
                format!("{who} works as a {occupation}."),
                format!("By trade, {who} is a {occupation}."),
            ],
            rng,
        ),
        fact(
            "married",
            json!(married),
            of("boolean"),
            [
                format!("{who} {is} married."),
                format!("It is well known that {who} {is} married."),
            ],
            rng,
        ),
        fact(
            "height_cm",
            json!(height),
            of("integer"),
            [
                format!("{who} is {height} cm tall."),
                format!("{who} measures {height} cm."),
            ],
            rng,
        ),
    ]
}

/// Lists, objects, dates and what may not be said.
pub(super) fn structured(who: &str, rng: &mut dyn Rng) -> Vec<Fact> {
    let languages: Vec<&str> = several(&words::LANGUAGES, 2..=3, rng);
    let (company, since) = (pick(&words::COMPANIES, rng), rng.random_range(1990..2025));
    let (date, written) = date(1940..=2005, rng);
    let (kind, pet) = (pick(&words::PETS, rng), pick(&words::FIRST_NAMES, rng));
    let employer = json!({ "company": company, "since": since });
    let employer_schema = object(json!({
        "company": { "type": "string" }, "since": { "type": "integer" },
    }));
    let pet = rng.random_bool(0.6).then_some((kind, pet));
    vec![
        fact(
            "languages",
            json!(languages),
            json!({ "type": "array", "items": { "type": "string" } }),
            [
                format!("{who} speaks {}.", listed(&languages)),
                format!("The languages of {who} are {}.", listed(&languages)),
            ],
            rng,
        ),
        fact(
            "employer",
            employer,
            employer_schema,
            [
                format!("{who} has been with {company} since {since}."),
                format!("In {since}, {who} joined {company} and stayed."),
            ],
            rng,
        ),
        fact(
            "birthday",
            json!(date),
            json!({ "type": "string", "format": "date" }),
            [
                format!("{who} was born on {written}."),
                format!("The birthday of {who} is {written}."),
            ],
            rng,
        ),
        Fact {
            key: "pet",
            value: pet.map_or(Value::Null, |(_, name)| json!(name)),
            sentence: pet.map(|(kind, name)| format!("{who} has a {kind} called {name}.")),
            schema: json!({ "type": ["string", "null"] }),
        },
    ]
}
