//! Units after a number, which do not count: `10 cm`, `5 m/s`, `12 dollars`.

use super::token::{Kind, Token};

/// Units and counted things in the singular, small letters; a plural `s` or `es` may follow.
const UNITS: [&str; 103] = [
    "mm",
    "cm",
    "dm",
    "km",
    "nm",
    "meter",
    "metre",
    "millimeter",
    "centimeter",
    "centimetre",
    "kilometer",
    "kilometre",
    "inch",
    "in",
    "ft",
    "foot",
    "feet",
    "yd",
    "yard",
    "mi",
    "mile",
    "mg",
    "kg",
    "gram",
    "kilogram",
    "ton",
    "tonne",
    "lb",
    "lbs",
    "pound",
    "oz",
    "ounce",
    "ml",
    "cl",
    "dl",
    "liter",
    "litre",
    "gal",
    "gallon",
    "quart",
    "pint",
    "cup",
    "sec",
    "second",
    "min",
    "minute",
    "hr",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "yr",
    "am",
    "pm",
    "mph",
    "kmh",
    "kph",
    "kmph",
    "cc",
    "sq",
    "square",
    "cu",
    "cubic",
    "acre",
    "hectare",
    "are",
    "per",
    "dollar",
    "cent",
    "euro",
    "rupee",
    "rs",
    "usd",
    "eur",
    "unit",
    "degree",
    "deg",
    "rad",
    "radian",
    "hz",
    "khz",
    "ohm",
    "volt",
    "watt",
    "kw",
    "joule",
    "newton",
    "pa",
    "kpa",
    "mol",
    "people",
    "person",
    "student",
    "apple",
    "coin",
    "point",
    "digit",
    "way",
    "time",
    "men",
    "women",
    "children",
];

/// Units of one letter: also variables, so that they count only after a space or beside a `/`.
const LETTER_UNITS: &str = "msghlLNJWVAKCFt";

/// `tokens` without the units that follow a number; with `letters`, without those of one letter too.
pub(super) fn without_units(tokens: &[Token], letters: bool) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    for part in tokens.split_inclusive(|token| token.kind.is(',') || token.kind.is(';')) {
        let end = match part.last() {
            Some(last) if last.kind.is(',') || last.kind.is(';') => part.len() - 1,
            _ => part.len(),
        };
        let start = units_start(&part[..end], letters);
        kept.extend_from_slice(&part[..start]);
        kept.extend_from_slice(&part[end..]);
    }
    kept
}

/// Whether `word` names a unit or a counted thing of more than one letter.
pub(super) fn is_unit(word: &str) -> bool {
    let word = word.to_lowercase();
    let plural = |suffix| {
        word.strip_suffix(suffix)
            .is_some_and(|one| UNITS.contains(&one))
    };
    word.len() > 1 && (UNITS.contains(&word.as_str()) || plural("s") || plural("es"))
}

/// Where the units at the end of `part` begin; its length when there are none.
fn units_start(part: &[Token], letters: bool) -> usize {
    let run = part
        .iter()
        .rev()
        .take_while(|token| may_be_in_units(&token.kind))
        .count();
    let first = part.len() - run;
    let starts = (first.max(1)..part.len()).find(|&start| {
        let units = &part[start..];
        matches!(units[0].kind, Kind::Letters(_))
            && follows_a_number(&part[start - 1].kind)
            && are_units(units, letters)
    });
    starts.unwrap_or(part.len())
}

fn may_be_in_units(kind: &Kind) -> bool {
    match kind {
        Kind::Letters(_) | Kind::Number { .. } => true,
        Kind::Mark(mark) => "/*^-{}".contains(*mark),
        _ => false,
    }
}

fn follows_a_number(kind: &Kind) -> bool {
    match kind {
        Kind::Number { .. } => true,
        Kind::Mark(mark) => "})°%!".contains(*mark),
        _ => false,
    }
}

/// Whether all letters name units, and all numbers are their exponents.
fn are_units(tokens: &[Token], letters: bool) -> bool {
    let divides = tokens.iter().any(|token| token.kind.is('/'));
    tokens
        .iter()
        .enumerate()
        .all(|(index, token)| match &token.kind {
            Kind::Letters(word) if word.chars().count() == 1 => {
                LETTER_UNITS.contains(word.as_str())
                    && (divides || (letters && (index > 0 || token.spaced)))
            }
            Kind::Letters(word) => is_unit(word),
            Kind::Number { .. } => {
                index > 0 && "^-{".chars().any(|mark| tokens[index - 1].kind.is(mark))
            }
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokenize;
    use super::super::token::Style;
    use super::*;

    fn kept(text: &str, letters: bool) -> usize {
        without_units(&tokenize(text, Style::Plain).unwrap(), letters).len()
    }

    #[test]
    fn units_after_a_number_are_left_out() {
        for text in [
            "10 cm",
            "10cm^2",
            "10 m/s",
            "10 miles per hour",
            "10 m/s^{2}",
            "10 Dollars",
        ] {
            assert_eq!(kept(text, false), 1, "{text}");
        }
        assert_eq!(kept("10 cm, 12 cm", false), 3);
    }

    #[test]
    fn letters_that_may_be_variables_stay() {
        for text in ["cm", "5x", "5 xy", "x cm"] {
            assert_eq!(
                kept(text, true),
                tokenize(text, Style::Plain).unwrap().len(),
                "{text}"
            );
        }
        assert_eq!(
            (kept("5 m", false), kept("5 m", true), kept("5m", true)),
            (2, 1, 2)
        );
    }
}
