//! Facts about events.

use rand::{Rng, RngExt};
use serde_json::{Value, json};

use super::{Fact, date, fact, listed, object, of, person, pick, price, several};
use crate::tasks::json_extraction::words;

/// Texts, numbers and truths.
pub(super) fn plain(title: &str, rng: &mut dyn Rng) -> Vec<Fact> {
    let host = person(rng);
    let room = pick(&words::ROOMS, rng);
    let (seats, fee) = (rng.random_range(10..500), price(rng));
    let open = rng.random_bool(0.5);
    let is = if open { "is" } else { "is not" };
    vec![
        fact(
            "host",
            json!(host),
            of("string"),
            [
                format!("The {title} is hosted by {host}."),
                format!("{host} is the host of the {title}."),
            ],
            rng,
        ),
        fact(
            "room",
            json!(room),
            of("string"),
            [
                format!("The {title} takes place in {room}."),
                format!("The place of the {title} is {room}."),
            ],
            rng,
        ),
        fact(
            "seats",
            json!(seats),
            of("integer"),
            [
                format!("The {title} has {seats} seats."),
                format!("There are {seats} seats for the {title}."),
            ],
            rng,
        ),
        fact(
            "fee",
            json!(fee),
            of("number"),
            [
                format!("The {title} costs {fee} euros."),
                format!("A ticket to the {title} is {fee} euros."),
            ],
            rng,
        ),
        fact(
            "public",
            json!(open),
            of("boolean"),
            [
                format!("The {title} {is} open to the public."),
                format!("It was decided that the {title} {is} open to the public."),
            ],
            rng,
        ),
    ]
}

/// Lists, objects, dates and what may not be said.
pub(super) fn structured(title: &str, rng: &mut dyn Rng) -> Vec<Fact> {
    let speakers: Vec<String> = several(&words::FIRST_NAMES, 2..=3, rng)
        .into_iter()
        .map(|first| format!("{first} {}", pick(&words::LAST_NAMES, rng)))
        .collect();
    let (date, written) = date(2020..=2029, rng);
    let (from, until) = (rng.random_range(8..14), rng.random_range(14..22));
    let hours = json!({ "from": from, "until": until });
    let hours_schema = object(json!({
        "from": { "type": "integer" }, "until": { "type": "integer" },
    }));
    let sponsor = rng.random_bool(0.6).then(|| pick(&words::COMPANIES, rng));
    vec![
        fact(
            "speakers",
            json!(speakers),
            json!({ "type": "array", "items": { "type": "string" } }),
            [
                format!("The speakers at the {title} are {}.", listed(&speakers)),
                format!("At the {title} you can hear {}.", listed(&speakers)),
            ],
            rng,
        ),
        fact(
            "date",
            json!(date),
            json!({ "type": "string", "format": "date" }),
            [
                format!("The {title} is on {written}."),
                format!("The date of the {title} is {written}."),
            ],
            rng,
        ),
        fact(
            "hours",
            hours,
            hours_schema,
            [
                format!("The {title} starts at {from} and ends at {until} o'clock."),
                format!("The {title} goes on from {from} until {until} o'clock."),
            ],
            rng,
        ),
        Fact {
            key: "sponsor",
            value: sponsor.map_or(Value::Null, Value::from),
            sentence: sponsor.map(|name| format!("The {title} is sponsored by {name}.")),
            schema: json!({ "type": ["string", "null"] }),
        },
    ]
}
