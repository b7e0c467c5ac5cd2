//! What a base model has read: people who write notes, well or badly.
//!
//! An author lists what to mention, then writes:
//!
//! ```text
//! <think>
//! book, tea
//! </think>
//! <answer>Dear Anna, thank you for the book. I like the tea so much. You made my day.</answer>
//! ```

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::rule::Request;
use super::words::{THINGS, WARM};
use crate::error::Result;
use crate::tasks::traces::{enclose, validate_probabilities};

/// Make-up of the notes that a base model has read; every field but `most_warm` is a probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotesTraces {
    /// A thing asked for is forgotten.
    pub forget: f64,
    /// A thing not asked for is mentioned.
    pub stray: f64,
    /// A sentence about a thing is written twice.
    pub repeat: f64,
    /// One more warm sentence follows, drawn without regard to those before.
    pub warm: f64,
    /// Most warm sentences of a note.
    pub most_warm: usize,
    /// The code is told, if there is one: in the plan, in the note or in both.
    pub tell: f64,
    /// The greeting is left out.
    pub ungreeted: f64,
    /// The author stops in the middle of the note.
    pub trail_off: f64,
    /// The note stands alone, without plan and tags.
    pub untagged: f64,
}

impl Default for NotesTraces {
    fn default() -> Self {
        Self {
            forget: 0.15,
            stray: 0.1,
            repeat: 0.05,
            warm: 0.4,
            most_warm: 4,
            tell: 0.3,
            ungreeted: 0.1,
            trail_off: 0.05,
            untagged: 0.2,
        }
    }
}

/// A completion, and what its reader sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Plan and note in tags, or the note.
    pub completion: String,
    /// The note.
    pub note: String,
}

impl NotesTraces {
    /// Checks the probabilities.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub(super) fn validate(&self) -> Result<()> {
        validate_probabilities(&[
            ("traces.forget", self.forget),
            ("traces.stray", self.stray),
            ("traces.repeat", self.repeat),
            ("traces.warm", self.warm),
            ("traces.tell", self.tell),
            ("traces.ungreeted", self.ungreeted),
            ("traces.trail_off", self.trail_off),
            ("traces.untagged", self.untagged),
        ])
    }

    /// Writes one author's trace.
    pub(super) fn write(&self, request: &Request, rng: &mut dyn Rng) -> Written {
        let mut author = Author { traces: self, rng };
        let things = author.things(request);
        let told = author.told(request);
        let plan = plan(&things, told.in_plan);
        let mut sentences = author.thanks(&things);
        sentences.extend(told.in_note.map(|code| format!("the door code is {code}")));
        sentences.extend(author.warmth());
        let greeting = (!author.happens(self.ungreeted)).then_some(&request.name);
        let whole = note(greeting, &sentences);
        let is_tagged = !author.happens(self.untagged);
        let broken_off = author
            .happens(self.trail_off)
            .then(|| author.beginning(&whole));
        let completion = match (is_tagged, &broken_off) {
            (true, None) => enclose(&plan, Some(&whole), true),
            (true, Some(part)) => format!("<think>\n{plan}</think>\n<answer>{part}"),
            (false, part) => part.as_ref().unwrap_or(&whole).clone(),
        };
        Written {
            completion,
            note: broken_off.unwrap_or(whole),
        }
    }

    /// An author who makes no mistake, wastes no word and answers in tags.
    #[cfg(test)]
    pub(super) fn careful() -> Self {
        Self {
            forget: 0.0,
            stray: 0.0,
            repeat: 0.0,
            warm: 0.0,
            most_warm: 0,
            tell: 0.0,
            ungreeted: 0.0,
            trail_off: 0.0,
            untagged: 0.0,
        }
    }
}

/// Where the code is told.
#[derive(Default)]
struct Told {
    in_plan: Option<u16>,
    in_note: Option<u16>,
}

/// Someone who writes a note.
struct Author<'a> {
    traces: &'a NotesTraces,
    rng: &'a mut dyn Rng,
}

impl Author<'_> {
    fn happens(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    /// What the author is going to mention.
    fn things<'a>(&mut self, request: &'a Request) -> Vec<&'a str> {
        let asked = request.things.iter().map(String::as_str);
        let mut things: Vec<&str> = asked
            .filter(|_| !self.happens(self.traces.forget))
            .collect();
        if self.happens(self.traces.stray) {
            let is_asked = |thing: &str| request.things.iter().any(|asked| asked == thing);
            let others: Vec<&str> = (THINGS.into_iter().filter(|t| !is_asked(t))).collect();
            if let Some(stray) = others.choose(self.rng) {
                let place = self.rng.random_range(0..=things.len());
                things.insert(place, *stray);
            }
        }
        things
    }

    fn told(&mut self, request: &Request) -> Told {
        if request.code.is_none() || !self.happens(self.traces.tell) {
            return Told::default();
        }
        let (in_plan, in_note) = *[(true, false), (false, true), (true, true)]
            .choose(self.rng)
            .expect("not empty");
        Told {
            in_plan: request.code.filter(|_| in_plan),
            in_note: request.code.filter(|_| in_note),
        }
    }

    /// A sentence about each thing, some of them twice.
    fn thanks(&mut self, things: &[&str]) -> Vec<String> {
        if things.is_empty() {
            return vec!["thank you".into()];
        }
        let mut sentences = Vec::new();
        for thing in things {
            let sentence = match self.happens(0.5) {
                true => format!("thank you for the {thing}"),
                false => format!("I like the {thing} so much"),
            };
            let times = 1 + usize::from(self.happens(self.traces.repeat));
            sentences.extend(std::iter::repeat_n(sentence, times));
        }
        sentences
    }

    fn warmth(&mut self) -> Vec<String> {
        let mut sentences = Vec::new();
        while sentences.len() < self.traces.most_warm && self.happens(self.traces.warm) {
            let sentence = *WARM.choose(self.rng).expect("not empty");
            sentences.push(sentence.to_string());
        }
        sentences
    }

    /// The first words of `note`, without the last at least.
    fn beginning(&mut self, note: &str) -> String {
        let words: Vec<&str> = note.split(' ').collect();
        let kept = self.rng.random_range(1..words.len().max(2));
        words[..kept].join(" ")
    }
}

fn plan(things: &[&str], code: Option<u16>) -> String {
    let things = things.iter().map(|thing| thing.to_string());
    let items: Vec<String> = things
        .chain(code.map(|code| format!("code {code}")))
        .collect();
    match items.is_empty() {
        true => "thanks\n".into(),
        false => items.join(", ") + "\n",
    }
}

/// The sentences after the greeting of `name`, if there is one.
fn note(name: Option<&String>, sentences: &[String]) -> String {
    let greeting = name.map(|name| format!("Dear {name}, "));
    let mut text = greeting.unwrap_or_default();
    for (index, sentence) in sentences.iter().enumerate() {
        match index {
            0 if name.is_some() => text.push_str(sentence),
            0 => text.push_str(&capitalised(sentence)),
            _ => text.push_str(&format!(" {}", capitalised(sentence))),
        }
        text.push('.');
    }
    text
}

fn capitalised(sentence: &str) -> String {
    let mut rest = sentence.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    fn request() -> Request {
        Request {
            name: "Anna".into(),
            things: vec!["book".into(), "tea".into()],
            code: Some(481),
        }
    }

    fn written(traces: &NotesTraces) -> Vec<Written> {
        let mut rng = Seed::new(1).rng();
        (0..2000)
            .map(|_| traces.write(&request(), &mut rng))
            .collect()
    }

    #[test]
    fn careful_author_plans_and_writes_what_is_asked() {
        for written in written(&NotesTraces::careful()) {
            let note = written.note;
            assert!(request().is_met_by(&note), "{note}");
            let expected = format!("<think>\nbook, tea\n</think>\n<answer>{note}</answer>");
            assert_eq!(written.completion, expected);
        }
    }

    #[test]
    fn every_habit_shows() {
        let careful = NotesTraces::careful;
        let text = |traces: NotesTraces| -> Vec<String> {
            let all = written(&traces).into_iter();
            all.map(|written| written.completion).collect()
        };
        let forgetful = text(NotesTraces {
            forget: 1.0,
            ..careful()
        });
        let expected = "<think>\nthanks\n</think>\n<answer>Dear Anna, thank you.</answer>";
        assert!(forgetful.iter().all(|text| text == expected));
        let curt = text(NotesTraces {
            ungreeted: 1.0,
            untagged: 1.0,
            ..careful()
        });
        assert!(
            curt.iter()
                .any(|text| text == "Thank you for the book. I like the tea so much.")
        );
        let broken = text(NotesTraces {
            trail_off: 1.0,
            ..careful()
        });
        assert!(
            broken
                .iter()
                .all(|text| !text.contains("</answer>") && !text.contains("tea."))
        );
        let warm = written(&NotesTraces {
            warm: 1.0,
            most_warm: 3,
            ..careful()
        });
        let mut twice = 0;
        for written in warm {
            assert!(!request().is_met_by(&written.note));
            let times = |sentence: &&str| written.note.matches(*sentence).count();
            assert_eq!(WARM.iter().map(times).sum::<usize>(), 3);
            twice += usize::from(WARM.iter().any(|s| times(s) > 1));
        }
        // Three draws from eight are different with a probability of 7 * 6 / 64 = 0.656.
        assert!((600..780).contains(&twice), "{twice}");
        let telling = written(&NotesTraces {
            tell: 1.0,
            ..careful()
        });
        assert!(
            telling
                .iter()
                .all(|written| request().is_told_in(&written.completion))
        );
        let shown = telling
            .iter()
            .filter(|written| request().is_told_in(&written.note))
            .count();
        assert!((1230..1440).contains(&shown), "{shown}");
    }

    #[test]
    fn a_probability_above_one_is_refused_by_name() {
        let traces = NotesTraces {
            tell: 1.5,
            ..NotesTraces::default()
        };
        let message = traces.validate().unwrap_err().to_string();
        assert_eq!(message, "`traces.tell`: is 1.5, expected 0 to 1");
    }
}
