//! How people ask for what functions do.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde_json::{Map, Value, json};

use super::catalogue::Tool;

const CITIES: [&str; 20] = [
    "Accra", "Athens", "Berlin", "Bogota", "Cairo", "Dakar", "Dublin", "Hanoi", "Helsinki",
    "Izmir", "Kyoto", "Lagos", "Lima", "Lisbon", "Madrid", "Nairobi", "Oslo", "Prague", "Quito",
    "Seoul",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const CURRENCIES: [&str; 8] = ["AUD", "BRL", "CHF", "EUR", "INR", "JPY", "KES", "USD"];
const PEOPLE: [&str; 16] = [
    "Ada", "Amir", "Bruno", "Carla", "Dana", "Elif", "Felix", "Hana", "Ivan", "Kofi", "Lena",
    "Maya", "Nils", "Omar", "Priya", "Yuki",
];
const MESSAGES: [&str; 12] = [
    "call me back",
    "dinner is ready",
    "happy birthday",
    "I am on my way",
    "I found the keys",
    "I will be late",
    "please bring bread",
    "see you soon",
    "thanks for the help",
    "the meeting is moved",
    "the train is late",
    "we won the match",
];
const ROOMS: [&str; 8] = [
    "attic", "basement", "bathroom", "bedroom", "garage", "hallway", "kitchen", "office",
];
const COLORS: [&str; 6] = ["amber", "blue", "green", "red", "violet", "white"];
const ARTISTS: [&str; 8] = [
    "Clara Voss",
    "Iron Harvest",
    "Lowland Choir",
    "Mira Sol",
    "Paper Boats",
    "Quartet Nine",
    "The Lanterns",
    "Tidewater",
];
const LANGUAGES: [&str; 8] = [
    "Arabic", "Czech", "Dutch", "French", "German", "Greek", "Italian", "Spanish",
];
const GOODS: [&str; 12] = [
    "apples",
    "batteries",
    "bread",
    "candles",
    "coffee",
    "eggs",
    "flour",
    "honey",
    "lemons",
    "milk",
    "rice",
    "soap",
];
const RESTAURANTS: [&str; 8] = [
    "Basilico",
    "Copper Pan",
    "Dragon Gate",
    "El Faro",
    "Harvest Table",
    "Le Coin",
    "Saffron House",
    "Two Rivers",
];

/// What someone wants, and the call that does it.
pub(super) struct Request {
    pub tool: Tool,
    pub text: String,
    pub arguments: Map<String, Value>,
}

/// A request before what is optional is added.
struct Spoken {
    text: String,
    /// The required arguments, an object.
    arguments: Value,
    extra: Option<Extra>,
}

/// An optional argument, and the words that state it.
struct Extra {
    key: &'static str,
    value: Value,
    words: String,
}

impl Spoken {
    /// One of two ways to ask.
    fn new(texts: [String; 2], arguments: Value, extra: Option<Extra>, rng: &mut dyn Rng) -> Self {
        let [one, other] = texts;
        Self {
            text: if rng.random_bool(0.5) { one } else { other },
            arguments,
            extra,
        }
    }
}

impl Extra {
    fn new(key: &'static str, value: Value, words: String) -> Self {
        Self { key, value, words }
    }
}

impl Tool {
    /// Someone asks for this; with `extras`, perhaps stating what is optional.
    pub(super) fn request(self, extras: bool, rng: &mut dyn Rng) -> Request {
        let has_extra = extras && rng.random_bool(0.5);
        let spoken = match self {
            Self::GetWeather | Self::GetTime | Self::FindFlight => self.about_cities(rng),
            Self::ConvertCurrency | Self::AddToList | Self::BookTable => self.about_goods(rng),
            Self::SetAlarm | Self::SetTimer => self.about_time(rng),
            Self::SendMessage | Self::Translate => self.about_texts(rng),
            Self::SwitchLight | Self::PlayMusic => self.about_home(rng),
        };
        let Value::Object(mut arguments) = spoken.arguments else {
            unreachable!("arguments are written as objects");
        };
        let mut text = spoken.text;
        if let Some(extra) = spoken.extra.filter(|_| has_extra) {
            arguments.insert(extra.key.into(), extra.value);
            text.push_str(&extra.words);
        }
        Request {
            tool: self,
            text: format!("{text}."),
            arguments,
        }
    }

    fn about_cities(self, rng: &mut dyn Rng) -> Spoken {
        let (city, day) = (pick(&CITIES, rng), pick(&DAYS, rng));
        match self {
            Self::GetWeather => {
                let texts = [
                    format!("Tell me the weather in {city}"),
                    format!("I want to know what the weather is like in {city}"),
                ];
                let extra = Extra::new("day", json!(day), format!(" on {day}"));
                Spoken::new(texts, json!({ "city": city }), Some(extra), rng)
            }
            Self::GetTime => {
                let texts = [
                    format!("Tell me what time it is in {city}"),
                    format!(
                        "I have to call someone in {city} and need to know how late it is there"
                    ),
                ];
                Spoken::new(texts, json!({ "city": city }), None, rng)
            }
            _ => {
                let others: Vec<&str> = CITIES.iter().copied().filter(|c| *c != city).collect();
                let to = pick(&others, rng);
                let texts = [
                    format!("Find me a flight from {city} to {to} on {day}"),
                    format!("On {day} I have to fly from {city} to {to}"),
                ];
                let price = rng.random_range(5..90) * 10;
                let extra = Extra::new(
                    "max_price",
                    json!(price),
                    format!(" for at most {price} euros"),
                );
                let arguments = json!({ "from": city, "to": to, "day": day });
                Spoken::new(texts, arguments, Some(extra), rng)
            }
        }
    }

    fn about_goods(self, rng: &mut dyn Rng) -> Spoken {
        match self {
            Self::ConvertCurrency => {
                let from = pick(&CURRENCIES, rng);
                let others: Vec<&str> = CURRENCIES.iter().copied().filter(|c| *c != from).collect();
                let (to, amount) = (pick(&others, rng), rng.random_range(2..2000));
                let texts = [
                    format!("How much is {amount} {from} in {to}? Please find out"),
                    format!("Convert {amount} {from} to {to}"),
                ];
                let arguments = json!({ "amount": amount, "from": from, "to": to });
                Spoken::new(texts, arguments, None, rng)
            }
            Self::AddToList => {
                let (item, count) = (pick(&GOODS, rng), rng.random_range(2..60));
                let texts = [
                    format!("We are out of {item}, so note {count} of them for shopping"),
                    format!("Put {count} {item} on the shopping list"),
                ];
                Spoken::new(texts, json!({ "item": item, "count": count }), None, rng)
            }
            _ => {
                let (place, day) = (pick(&RESTAURANTS, rng), pick(&DAYS, rng));
                let (people, hour) = (rng.random_range(2..13), rng.random_range(11..23));
                let texts = [
                    format!("Book a table for {people} people at {place}, {hour} o'clock"),
                    format!("{people} of us want to eat at {place} at {hour} o'clock"),
                ];
                let arguments = json!({ "restaurant": place, "people": people, "hour": hour });
                let extra = Extra::new("day", json!(day), format!(" on {day}"));
                Spoken::new(texts, arguments, Some(extra), rng)
            }
        }
    }

    fn about_time(self, rng: &mut dyn Rng) -> Spoken {
        if self == Self::SetTimer {
            let (minutes, label) = (rng.random_range(2..120), pick(&GOODS, rng));
            let texts = [
                format!("Set a timer for {minutes} minutes"),
                format!("Let me know when {minutes} minutes have passed"),
            ];
            let extra = Extra::new("label", json!(label), format!(" and label it {label}"));
            return Spoken::new(texts, json!({ "minutes": minutes }), Some(extra), rng);
        }
        let (hour, minute, day) = (
            rng.random_range(0..24),
            rng.random_range(10..60),
            pick(&DAYS, rng),
        );
        let texts = [
            format!("Wake me up at {hour}:{minute}"),
            format!("I need an alarm at {hour}:{minute}"),
        ];
        let extra = Extra::new("day", json!(day), format!(" on {day}"));
        let arguments = json!({ "hour": hour, "minute": minute });
        Spoken::new(texts, arguments, Some(extra), rng)
    }

    fn about_texts(self, rng: &mut dyn Rng) -> Spoken {
        let (text, person) = (pick(&MESSAGES, rng), pick(&PEOPLE, rng));
        if self == Self::SendMessage {
            let texts = [
                format!("Send {person} the message \"{text}\""),
                format!("Write to {person}: \"{text}\""),
            ];
            return Spoken::new(texts, json!({ "to": person, "text": text }), None, rng);
        }
        let to = pick(&LANGUAGES, rng);
        let texts = [
            format!("How do you say \"{text}\" in {to}? Please look it up"),
            format!("Translate \"{text}\" to {to}"),
        ];
        Spoken::new(texts, json!({ "text": text, "to": to }), None, rng)
    }

    fn about_home(self, rng: &mut dyn Rng) -> Spoken {
        if self == Self::PlayMusic {
            let (artist, minutes) = (pick(&ARTISTS, rng), rng.random_range(5..180));
            let texts = [
                format!("Play something by {artist}"),
                format!("I feel like hearing {artist}"),
            ];
            let extra = Extra::new("minutes", json!(minutes), format!(" for {minutes} minutes"));
            return Spoken::new(texts, json!({ "artist": artist }), Some(extra), rng);
        }
        let (room, on) = (pick(&ROOMS, rng), rng.random_bool(0.5));
        let state = if on { "on" } else { "off" };
        let texts = [
            format!("Switch {state} the light in the {room}"),
            format!("The light in the {room} should be {state}"),
        ];
        let color = pick(&COLORS, rng);
        let extra = on.then(|| Extra::new("color", json!(color), format!(", in {color}")));
        Spoken::new(texts, json!({ "room": room, "on": on }), extra, rng)
    }
}

fn pick(words: &[&'static str], rng: &mut dyn Rng) -> &'static str {
    words
        .choose(rng)
        .copied()
        .expect("word lists are not empty")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn requests_state_every_required_argument_and_no_unknown_one() {
        let mut rng = Seed::new(1).rng();
        for tool in Tool::ALL {
            let (mut with_extra, mut without) = (0, 0);
            let parameters = tool.parameters();
            let required = parameters.iter().filter(|p| p.required).count();
            for _ in 0..100 {
                let request = tool.request(true, &mut rng);
                for (key, value) in &request.arguments {
                    let parameter = parameters.iter().find(|p| p.name == key).unwrap();
                    let fits = match parameter.kind {
                        "integer" => value.is_i64(),
                        "boolean" => value.is_boolean(),
                        _ => value.is_string(),
                    };
                    assert!(fits, "{key}: {}", request.text);
                }
                let mut needed = parameters.iter().filter(|p| p.required);
                assert!(needed.all(|p| request.arguments.contains_key(p.name)));
                match request.arguments.len() - required {
                    0 => without += 1,
                    _ => with_extra += 1,
                }
            }
            assert_eq!(with_extra > 0, parameters.len() > required, "{tool:?}");
            assert!(without > 0, "{tool:?}");
            assert_eq!(tool.request(false, &mut rng).arguments.len(), required);
        }
    }
}
