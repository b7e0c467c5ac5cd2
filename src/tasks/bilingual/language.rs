//! Numbers and arithmetic in English and in Chinese words.

use serde::{Deserialize, Serialize};

use crate::tasks::expression::{Expression, Operator};

/// Largest number that can be spelled.
pub(super) const MAX_SPELLED: i64 = 9999;

/// A language that problems are asked in; recipes name it by its ISO 639-1 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    /// English, `en`.
    #[serde(rename = "en")]
    English,
    /// Chinese in simplified script, `zh`.
    #[serde(rename = "zh")]
    Chinese,
}

impl Language {
    /// The ISO 639-1 code.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// The other one of the two.
    pub(in crate::tasks) fn other(self) -> Self {
        match self {
            Self::English => Self::Chinese,
            Self::Chinese => Self::English,
        }
    }

    /// `number` in words, which is from 0 to [`MAX_SPELLED`]; any other stays in digits.
    pub(super) fn number(self, number: i64) -> String {
        let spelled = usize::try_from(number)
            .ok()
            .filter(|_| number <= MAX_SPELLED);
        match (spelled, self) {
            (Some(number), Self::English) => english(number),
            (Some(number), Self::Chinese) => chinese(number),
            (None, _) => number.to_string(),
        }
    }

    /// `expression` in words, without parentheses.
    pub(super) fn spell(self, expression: &Expression) -> String {
        match expression {
            Expression::Number(number) => self.number(*number),
            Expression::Binary(left, operator, right) => {
                let (left, right) = (self.spell(left), self.spell(right));
                match self {
                    Self::English => format!("{left} {} {right}", self.operator(*operator)),
                    Self::Chinese => format!("{left}{}{right}", self.operator(*operator)),
                }
            }
        }
    }

    fn operator(self, operator: Operator) -> &'static str {
        match (self, operator) {
            (Self::English, Operator::Add) => "plus",
            (Self::English, Operator::Subtract) => "minus",
            (Self::English, Operator::Multiply) => "times",
            (Self::English, Operator::Divide) => "divided by",
            (Self::Chinese, Operator::Add) => "加",
            (Self::Chinese, Operator::Subtract) => "减",
            (Self::Chinese, Operator::Multiply) => "乘以",
            (Self::Chinese, Operator::Divide) => "除以",
        }
    }
}

fn english(number: usize) -> String {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = [
        "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    ];
    let joined = |unit: usize, name: &str| {
        let head = format!("{} {name}", english(number / unit));
        match number % unit {
            0 => head,
            rest => format!("{head} {}", english(rest)),
        }
    };
    match number {
        0..20 => SMALL[number].into(),
        20..100 if number.is_multiple_of(10) => TENS[number / 10 - 2].into(),
        20..100 => format!("{}-{}", TENS[number / 10 - 2], SMALL[number % 10]),
        100..1000 => joined(100, "hundred"),
        _ => joined(1000, "thousand"),
    }
}

fn chinese(number: usize) -> String {
    const DIGITS: [&str; 10] = ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九"];
    if number == 0 {
        return DIGITS[0].into();
    }
    let mut text = String::new();
    for (unit, name) in [(1000, "千"), (100, "百"), (10, "十"), (1, "")] {
        let digit = number / unit % 10;
        if digit == 0 {
            continue;
        }
        // One zero is said for a gap: 1005 is 一千零五.
        let has_gap = !text.is_empty() && (number / unit / 10).is_multiple_of(10);
        text.push_str(if has_gap { "零" } else { "" });
        text.push_str(match (unit, digit) {
            (10, 1) if text.is_empty() => "",
            (1000, 2) => "两",
            _ => DIGITS[digit],
        });
        text.push_str(name);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_are_spelled_as_people_say_them() {
        for (number, english, chinese) in [
            (0, "zero", "零"),
            (9, "nine", "九"),
            (10, "ten", "十"),
            (12, "twelve", "十二"),
            (20, "twenty", "二十"),
            (47, "forty-seven", "四十七"),
            (100, "one hundred", "一百"),
            (105, "one hundred five", "一百零五"),
            (110, "one hundred ten", "一百一十"),
            (215, "two hundred fifteen", "二百一十五"),
            (1005, "one thousand five", "一千零五"),
            (1050, "one thousand fifty", "一千零五十"),
            (1010, "one thousand ten", "一千零一十"),
            (2300, "two thousand three hundred", "两千三百"),
            (
                9999,
                "nine thousand nine hundred ninety-nine",
                "九千九百九十九",
            ),
            (10_000, "10000", "10000"),
            (-3, "-3", "-3"),
        ] {
            assert_eq!(Language::English.number(number), english);
            assert_eq!(Language::Chinese.number(number), chinese);
        }
    }

    #[test]
    fn no_two_numbers_share_their_words() {
        for language in [Language::English, Language::Chinese] {
            let words: HashSet<String> = (0..=MAX_SPELLED)
                .map(|number| language.number(number))
                .collect();
            assert_eq!(words.len(), 10_000);
        }
    }

    #[test]
    fn chains_are_spelled_from_left_to_right() {
        let chain = Expression::parse("12*7-30+5").unwrap();
        let english = "twelve times seven minus thirty plus five";
        assert_eq!(Language::English.spell(&chain), english);
        assert_eq!(Language::Chinese.spell(&chain), "十二乘以七减三十加五");
    }
}
