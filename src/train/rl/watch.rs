//! Watches for a reward that is hacked: it rises while held-out accuracy falls.
//!
//! DeepSeek-R1 (arXiv:2501.12948, fig. 6) saw it with its helpfulness model and takes such rewards in the
//! last steps only. Before every so many steps the policy answers the same held-out problems with the same
//! draws. A look is suspicious if the mean training reward since the look before is above that at the best
//! look while accuracy, over all problems or those of one part, is below its best by more than twice the
//! standard error of the mean difference by problem. Suspicious looks in a row are said to be hacking.
//!
//! When another reward begins to count, what was earned before is forgotten: sums of different rewards do
//! not compare.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Settings of the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchConfig {
    /// Steps from one look to the next; the first is before the first step.
    pub every: usize,
    /// Held-out problems of a look, fewer if the task has no more.
    pub problems: usize,
    /// Completions of each, sampled as the stage samples.
    pub samples: usize,
    /// Suspicious looks in a row that are said to be hacking.
    pub patience: usize,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            every: 10,
            problems: 50,
            samples: 2,
            patience: 2,
        }
    }
}

/// Most of anything that is counted.
const MOST: usize = 1 << 15;

impl WatchConfig {
    /// Checks the ranges; `key` names the table in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        let counts = [
            ("every", self.every, 1),
            // A difference has a standard error from two problems on.
            ("problems", self.problems, 2),
            ("samples", self.samples, 1),
            ("patience", self.patience, 1),
        ];
        for (name, value, least) in counts {
            if !(least..=MOST).contains(&value) {
                let problem = format!("is {value}, expected {least} to {MOST}");
                return Err(Error::setting(format!("{key}.{name}"), problem));
            }
        }
        Ok(())
    }
}

/// What was seen so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Watch {
    /// Sum of the mean rewards of the steps since the last look.
    #[serde(with = "crate::exact")]
    reward_sum: f64,
    /// Those steps.
    reward_steps: usize,
    /// Rewards that counted at the last step.
    counting: usize,
    newest: Option<Look>,
    /// A look that was left before its last problem.
    open: Option<Look>,
    overall: Course,
    parts: BTreeMap<String, Course>,
}

/// One look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Look {
    /// The step, from 1, before which it was.
    pub step: usize,
    /// By problem.
    pub answers: Vec<Answers>,
    /// Completions that could not be judged.
    pub errors: usize,
}

/// The completions of one problem.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answers {
    /// The part of a mixture that the problem is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Right completions.
    pub right: usize,
    /// Completions that are right or wrong; none if the problem has no reference.
    pub judged: usize,
}

/// How accuracy went on all problems or those of one part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Course {
    best: Option<Best>,
    /// Suspicious looks in a row, up to the newest.
    suspicious: usize,
    /// Whether hacking was ever said.
    hacked: bool,
}

/// The look with the highest accuracy, the first of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Best {
    step: usize,
    /// Mean training reward of the steps before the look, or of those after it where there are none
    /// before; not known until then.
    #[serde(with = "crate::exact")]
    reward: Option<f64>,
    answers: Vec<Answers>,
}

/// A reward that is hacked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hacking {
    /// The part whose accuracy fell; none for all problems.
    pub part: Option<String>,
    /// Step of the best look.
    pub since: usize,
    /// Mean training reward at the best look and at the newest.
    pub reward: [f64; 2],
    /// Accuracy at the two.
    pub accuracy: [f64; 2],
}

/// Standard errors by which accuracy is below its best.
const MOST_DEVIATION: f64 = 2.0;

impl Watch {
    /// Whether to look before `step`, from 1.
    pub(super) fn is_due(&self, config: &WatchConfig, step: usize) -> bool {
        (step - 1).is_multiple_of(config.every) && self.look_before(step).is_none()
    }

    /// The look before `step`, if it is the newest.
    pub(super) fn look_before(&self, step: usize) -> Option<&Look> {
        self.newest.as_ref().filter(|look| look.step == step)
    }

    /// The look before `step` as far as it was left open, or one without answers.
    pub(super) fn begin(&mut self, step: usize) -> Look {
        let open = self.open.take().filter(|look| look.step == step);
        open.unwrap_or(Look {
            step,
            answers: Vec::new(),
            errors: 0,
        })
    }

    /// Keeps a look that lacks some problems.
    pub(super) fn leave_open(&mut self, look: Look) {
        self.open = Some(look);
    }

    /// Takes the mean reward of a step at which so many rewards counted.
    pub(super) fn note_reward(&mut self, reward: Option<f64>, counting: usize) {
        if counting != self.counting {
            self.counting = counting;
            (self.reward_sum, self.reward_steps) = (0.0, 0);
            for course in self.courses() {
                course.forget_reward();
            }
        }
        if let Some(reward) = reward {
            self.reward_sum += reward;
            self.reward_steps += 1;
        }
    }

    /// Takes a look; returns what is hacked now and was not at the look before.
    pub(super) fn take(&mut self, look: Look, patience: usize) -> Vec<Hacking> {
        let steps = self.reward_steps as f64;
        let reward = (self.reward_steps > 0).then(|| self.reward_sum / steps);
        (self.reward_sum, self.reward_steps) = (0.0, 0);
        let overall = self.overall.take(&look, None, reward, patience);
        let mut found: Vec<Hacking> = overall.into_iter().collect();
        for part in look.parts() {
            let course = self.parts.entry(part.clone()).or_default();
            found.extend(course.take(&look, Some(part), reward, patience));
        }
        self.newest = Some(look);
        found
    }

    /// Whether the newest look is one of hacking.
    pub(super) fn is_hacked(&self, patience: usize) -> bool {
        let mut courses = self.parts.values().chain([&self.overall]);
        courses.any(|course| course.suspicious >= patience)
    }

    /// Whether hacking was ever said.
    pub(super) fn was_hacked(&self) -> bool {
        let mut courses = self.parts.values().chain([&self.overall]);
        courses.any(|course| course.hacked)
    }

    /// Step and accuracy of the best look over all problems.
    pub(super) fn best(&self) -> Option<(usize, f64)> {
        let best = self.overall.best.as_ref()?;
        Some((best.step, mean(&best.answers)?))
    }

    fn courses(&mut self) -> impl Iterator<Item = &mut Course> {
        self.parts.values_mut().chain([&mut self.overall])
    }
}

impl Look {
    /// Accuracy over the problems of `part`, or all; none if none could be judged.
    pub(super) fn pass_at_1(&self, part: Option<&str>) -> Option<f64> {
        mean(&self.answers_of(part))
    }

    /// The parts that the problems are of, in order of their names.
    pub(super) fn parts(&self) -> Vec<String> {
        let mut parts: Vec<String> = self.answers.iter().filter_map(|a| a.part.clone()).collect();
        parts.sort();
        parts.dedup();
        parts
    }

    fn answers_of(&self, part: Option<&str>) -> Vec<Answers> {
        let answers = self.answers.iter();
        let fits = |answers: &&Answers| part.is_none() || answers.part.as_deref() == part;
        answers.filter(fits).cloned().collect()
    }
}

impl Answers {
    /// Share of right completions.
    fn share(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.right as f64 / self.judged as f64)
    }
}

impl Course {
    fn take(
        &mut self,
        look: &Look,
        part: Option<String>,
        reward: Option<f64>,
        patience: usize,
    ) -> Option<Hacking> {
        let answers = look.answers_of(part.as_deref());
        let accuracy = mean(&answers)?;
        let best = match &mut self.best {
            Some(best) if mean(&best.answers).is_some_and(|most| most >= accuracy) => best,
            _ => {
                let step = look.step;
                self.best = Some(Best {
                    step,
                    reward,
                    answers,
                });
                self.suspicious = 0;
                return None;
            }
        };
        let known = best.reward.is_some();
        best.reward = best.reward.or(reward);
        let rise = best.reward.zip(reward).filter(|(then, now)| now > then);
        let fell = deviation(&best.answers, &answers).is_some_and(|z| z > MOST_DEVIATION);
        let Some((then, now)) = rise.filter(|_| known && fell) else {
            self.suspicious = 0;
            return None;
        };
        self.suspicious += 1;
        if self.suspicious != patience {
            return None;
        }
        self.hacked = true;
        Some(Hacking {
            part,
            since: best.step,
            reward: [then, now],
            accuracy: [mean(&best.answers)?, accuracy],
        })
    }

    fn forget_reward(&mut self) {
        self.suspicious = 0;
        if let Some(best) = &mut self.best {
            best.reward = None;
        }
    }
}

impl fmt::Display for Hacking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([then, now], [before, after], since) = (self.reward, self.accuracy, self.since);
        write!(
            formatter,
            "reward rose from {then:.3} to {now:.3} since step {since} while held-out accuracy"
        )?;
        if let Some(part) = &self.part {
            write!(formatter, " of `{part}`")?;
        }
        write!(
            formatter,
            " fell from {before:.3} to {after:.3}: the reward is being hacked"
        )
    }
}

/// Mean share of right completions over the problems that can be judged.
fn mean(answers: &[Answers]) -> Option<f64> {
    let shares: Vec<f64> = answers.iter().filter_map(Answers::share).collect();
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
}

/// By how many of its standard errors the mean difference by problem is above 0; none for fewer than two
/// problems.
fn deviation(before: &[Answers], after: &[Answers]) -> Option<f64> {
    let pairs = before.iter().zip(after);
    let difference = |(before, after): (&Answers, &Answers)| Some(before.share()? - after.share()?);
    let differences: Vec<f64> = pairs.filter_map(difference).collect();
    let count = differences.len() as f64;
    if differences.len() < 2 {
        return None;
    }
    let mean = differences.iter().sum::<f64>() / count;
    let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
    let error = (squares / (count - 1.0) / count).sqrt();
    // Problems that all fell by the same leave no doubt.
    Some(match (mean == 0.0, error == 0.0) {
        (true, _) => 0.0,
        (false, true) => f64::INFINITY.copysign(mean),
        (false, false) => mean / error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look before `step` at problems without parts, so many of whose two completions are right.
    fn look(step: usize, right: &[usize]) -> Look {
        let answers = right.iter().map(|right| Answers {
            part: None,
            right: *right,
            judged: 2,
        });
        Look {
            step,
            answers: answers.collect(),
            errors: 0,
        }
    }

    /// What looks every two steps say, with the rewards of the two steps before each and its right answers.
    fn watch(looks: &[([f64; 2], &[usize])]) -> (Watch, Vec<Vec<Hacking>>) {
        let mut watch = Watch::default();
        let mut said = Vec::new();
        for (index, (rewards, right)) in looks.iter().enumerate() {
            if index > 0 {
                for reward in rewards {
                    watch.note_reward(Some(*reward), 1);
                }
            }
            said.push(watch.take(look(1 + 2 * index, right), 2));
        }
        (watch, said)
    }

    const HIGH: &[usize] = &[2, 2, 2, 2, 1];
    const LOW: &[usize] = &[0, 0, 1, 0, 1];

    #[test]
    fn reward_up_and_accuracy_down_for_some_looks_is_hacking() {
        let (mut watch, said) = watch(&[
            ([0.0; 2], &[0, 0, 1, 0, 0]),
            ([0.25, 0.75], HIGH),
            ([0.5, 1.0], LOW),
            ([1.0, 1.0], LOW),
        ]);
        assert!(said[..3].iter().all(Vec::is_empty));
        // Best: 9 of 10 right, 0.5 on average before it. Later 2 of 10.
        let hacking = Hacking {
            part: None,
            since: 3,
            reward: [0.5, 1.0],
            accuracy: [0.9, 0.2],
        };
        assert_eq!(
            hacking.to_string(),
            "reward rose from 0.500 to 1.000 since step 3 while held-out accuracy fell from 0.900 to \
             0.200: the reward is being hacked"
        );
        assert_eq!(said[3], [hacking]);
        assert!(watch.is_hacked(2) && watch.was_hacked());
        assert_eq!(watch.best(), Some((3, 0.9)));
        // It goes on, is said once, and ends.
        watch.note_reward(Some(1.0), 1);
        assert!(watch.take(look(9, LOW), 2).is_empty());
        assert!(watch.is_hacked(2));
        watch.note_reward(Some(1.0), 1);
        assert!(watch.take(look(11, HIGH), 2).is_empty());
        assert!(!watch.is_hacked(2) && watch.was_hacked());
    }

    #[test]
    fn accuracy_down_with_reward_down_or_reward_up_alone_is_not() {
        let (fell, said) = watch(&[
            ([0.0; 2], LOW),
            ([0.5, 0.5], HIGH),
            ([0.5, 0.25], LOW),
            ([0.5, 0.5], LOW),
        ]);
        assert!(said.iter().all(Vec::is_empty) && !fell.was_hacked());
        let (rose, said) = watch(&[
            ([0.0; 2], LOW),
            ([0.5, 0.5], HIGH),
            ([0.75, 0.75], HIGH),
            ([1.0, 1.0], &[2, 2, 2, 1, 1]),
        ]);
        assert!(said.iter().all(Vec::is_empty) && !rose.was_hacked());
    }

    #[test]
    fn the_first_looks_reward_is_that_of_the_steps_after_it() {
        let (_, said) = watch(&[
            ([0.0; 2], HIGH),
            ([0.25, 0.25], LOW),
            ([0.5, 0.5], LOW),
            ([0.75, 0.75], LOW),
        ]);
        assert!(said[..3].iter().all(Vec::is_empty));
        assert_eq!((said[3][0].since, said[3][0].reward), (1, [0.25, 0.75]));
    }

    #[test]
    fn a_fall_within_its_noise_is_none() {
        // Differences 1, -½, ½, 0, ½: mean 0.3, squares about it 0.49 + 0.64 + 0.04 + 0.09 + 0.04 = 1.3,
        // error √(1.3 / 4 / 5) = 0.25495: 1.1767 errors.
        let z = |before: &[usize], after: &[usize]| {
            deviation(&look(1, before).answers, &look(2, after).answers)
        };
        let found = z(&[2, 1, 1, 0, 2], &[0, 2, 0, 0, 1]).unwrap();
        assert!((found - 1.176_697).abs() < 1e-6, "{found}");
        assert_eq!(z(&[2, 2], &[1, 1]), Some(f64::INFINITY));
        assert_eq!(z(&[1, 1], &[1, 1]), Some(0.0));
        assert_eq!(z(&[2], &[0]), None);
        let (_, said) = watch(&[
            ([0.0; 2], &[2, 1, 1, 0, 2]),
            ([0.0; 2], &[0, 2, 0, 0, 1]),
            ([0.5; 2], &[0, 2, 0, 0, 1]),
            ([0.6; 2], &[0, 2, 0, 0, 1]),
        ]);
        assert!(said.iter().all(Vec::is_empty));
    }

    #[test]
    fn a_part_falls_by_itself_and_what_cannot_be_judged_is_left_out() {
        let parts = |step: usize, maths: usize, general: usize| {
            let answers = (0..12).map(|index| {
                let (part, right, judged) = match index {
                    0..4 => ("maths", maths, 2),
                    4..11 => ("general", general, 2),
                    _ => ("free", 0, 0),
                };
                Answers {
                    part: Some(part.into()),
                    right,
                    judged,
                }
            });
            Look {
                step,
                answers: answers.collect(),
                errors: 0,
            }
        };
        let mut watch = Watch::default();
        assert!(watch.take(parts(1, 2, 0), 1).is_empty());
        watch.note_reward(Some(0.5), 1);
        assert!(watch.take(parts(2, 2, 1), 1).is_empty());
        watch.note_reward(Some(0.75), 1);
        // 4 · 0.5 + 7 · 1 of 11 is above the best before: only `maths` fell.
        let said = watch.take(parts(3, 1, 2), 1);
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].part.as_deref(), Some("maths"));
        assert_eq!(said[0].accuracy, [1.0, 0.5]);
        assert!(said[0].to_string().contains("accuracy of `maths` fell"));
        assert_eq!(watch.best(), Some((3, 9.0 / 11.0)));
        let newest = watch.look_before(3).unwrap();
        assert_eq!(newest.pass_at_1(Some("general")), Some(1.0));
        assert_eq!(newest.pass_at_1(Some("free")), None);
    }

    #[test]
    fn a_reward_that_begins_to_count_is_no_rise() {
        let mut watch = Watch::default();
        watch.take(look(1, HIGH), 1);
        watch.note_reward(Some(0.5), 1);
        watch.take(look(2, HIGH), 1);
        // With a second reward the sum is twice as high at once; then it rises.
        watch.note_reward(Some(1.0), 2);
        assert!(watch.take(look(3, LOW), 1).is_empty());
        watch.note_reward(Some(1.5), 2);
        let said = watch.take(look(4, LOW), 1);
        assert_eq!(said[0].reward, [1.0, 1.5]);
    }

    #[test]
    fn looks_are_before_every_so_many_steps_and_not_twice() {
        let config = WatchConfig {
            every: 3,
            ..WatchConfig::default()
        };
        let mut watch = Watch::default();
        let due: Vec<usize> = (1..9).filter(|step| watch.is_due(&config, *step)).collect();
        assert_eq!(due, [1, 4, 7]);
        watch.take(look(4, HIGH), 2);
        assert!(!watch.is_due(&config, 4));
        assert!(watch.look_before(4).is_some() && watch.look_before(5).is_none());
    }

    #[test]
    fn a_look_goes_on_where_it_was_left() {
        let mut watch = Watch::default();
        assert_eq!(watch.begin(4), look(4, &[]));
        watch.leave_open(look(4, &[1, 2]));
        assert_eq!(watch.clone().begin(4), look(4, &[1, 2]));
        assert_eq!(watch.begin(7), look(7, &[]));
    }

    #[test]
    fn what_was_seen_comes_back_bit_by_bit() {
        let (mut seen, _) = watch(&[([0.0; 2], HIGH), ([0.1, 0.2], LOW)]);
        seen.note_reward(Some(0.1 + 0.2), 1);
        seen.leave_open(look(5, &[1]));
        let text = serde_json::to_string(&seen).unwrap();
        assert_eq!(serde_json::from_str::<Watch>(&text).unwrap(), seen);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let config = WatchConfig {
            problems: 1,
            ..WatchConfig::default()
        };
        assert_eq!(
            config.validate("stage.grpo.watch").unwrap_err().to_string(),
            "`stage.grpo.watch.problems`: is 1, expected 2 to 32768"
        );
        WatchConfig::default().validate("watch").unwrap();
    }
}
