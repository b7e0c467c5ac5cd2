//! Facts about orders.

use rand::{Rng, RngExt};
use serde_json::{Value, json};

use super::{Fact, date, fact, listed, object, of, person, pick, price, several};
use crate::tasks::json_extraction::words;

/// Texts, numbers and truths.
pub(super) fn plain(order: &str, rng: &mut dyn Rng) -> Vec<Fact> {
    let customer = person(rng);
    let city = pick(&words::CITIES, rng);
    let (boxes, price) = (rng.random_range(2..40), price(rng));
    let paid = rng.random_bool(0.5);
    let not = if paid { "" } else { " not" };
    vec![
        fact(
            "customer",
            json!(customer),
            of("string"),
            [
                format!("Order {order} was placed by {customer}."),
                format!("{customer} is the customer of order {order}."),
            ],
            rng,
        ),
        fact(
            "city",
            json!(city),
            of("string"),
            [
                format!("Order {order} goes to {city}."),
                format!("The destination of order {order} is {city}."),
            ],
            rng,
        ),
        fact(
            "boxes",
            json!(boxes),
            of("integer"),
            [
                format!("Order {order} fills {boxes} boxes."),
                format!("There are {boxes} boxes in order {order}."),
            ],
            rng,
        ),
        fact(
            "shipping",
            json!(price),
            of("number"),
            [
                format!("Shipping order {order} costs {price} euros."),
                format!("The shipping of order {order} comes to {price} euros."),
            ],
            rng,
        ),
        fact(
            "paid",
            json!(paid),
            of("boolean"),
            [
                format!("Order {order} has{not} been paid."),
                format!("According to the books, order {order} has{not} been paid."),
            ],
            rng,
        ),
    ]
}

/// Lists, objects, dates and what may not be said.
pub(super) fn structured(order: &str, rng: &mut dyn Rng) -> Vec<Fact> {
    let products = several(&words::PRODUCTS, 2..=3, rng);
    let lines: Vec<(&str, i64, f64)> = products
        .iter()
        .map(|product| (*product, rng.random_range(2..30), price(rng)))
        .collect();
    let spelled: Vec<String> = lines
        .iter()
        .map(|(product, count, price)| format!("{count} {product} at {price} euros each"))
        .collect();
    let items: Vec<Value> = lines
        .iter()
        .map(|(product, count, price)| {
            json!({ "product": product, "quantity": count, "price": price })
        })
        .collect();
    let item_schema = object(json!({
        "product": { "type": "string" }, "quantity": { "type": "integer" },
        "price": { "type": "number" },
    }));
    let (date, written) = date(2020..=2029, rng);
    let note = rng.random_bool(0.6).then(|| pick(&words::FIRST_NAMES, rng));
    vec![
        fact(
            "items",
            json!(items),
            json!({ "type": "array", "items": item_schema }),
            [
                format!("Order {order} is for {}.", listed(&spelled)),
                format!("What order {order} asks for is {}.", listed(&spelled)),
            ],
            rng,
        ),
        fact(
            "delivery",
            json!(date),
            json!({ "type": "string", "format": "date" }),
            [
                format!("Order {order} is due on {written}."),
                format!("The delivery of order {order} is planned for {written}."),
            ],
            rng,
        ),
        Fact {
            key: "driver",
            value: note.map_or(Value::Null, Value::from),
            sentence: note.map(|name| format!("The driver for order {order} is {name}.")),
            schema: json!({ "type": ["string", "null"] }),
        },
    ]
}
