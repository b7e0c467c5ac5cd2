//! How good a reward model is on texts that it was not trained on: accuracy, calibration, and whether
//! it goes by length.

use serde::{Deserialize, Serialize};

use super::items::RewardItem;

/// Bins of probability that calibration is measured in.
const BINS: usize = 10;

/// What a reward model did on held-out items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOutReport {
    /// Pairs or single answers.
    pub items: usize,
    /// Share of pairs whose chosen answer has the higher score, or of answers on the right side of 0.
    pub accuracy: f64,
    /// Mean of `−log p`, `p` the probability that the model gives to what is so: `σ` of a pair's
    /// difference, or of an answer's score; nats.
    pub log_loss: f64,
    /// Expected calibration error (arXiv:1706.04599, eq. 3): over ten bins of `p`, the mean distance of
    /// the mean `p` from the share that is so. A pair counts both ways round.
    pub calibration_error: f64,
    /// Mean score of the texts.
    pub mean_score: f64,
    /// Standard deviation of the scores.
    pub score_deviation: f64,
    /// Pearson's correlation of score and answer's length in tokens; none if either is constant.
    pub length_pearson: Option<f64>,
    /// Spearman's correlation of the two.
    pub length_spearman: Option<f64>,
    /// Accuracy on pairs whose chosen answer is the shorter one, or on good answers that are shorter
    /// than the median; none if there are none. Far from the next figure, length is a bias.
    pub accuracy_if_shorter_is_better: Option<f64>,
    /// Accuracy on pairs whose chosen answer is the longer one, or on good answers that are longer than
    /// the median.
    pub accuracy_if_longer_is_better: Option<f64>,
}

/// A judgement: what should be so, and how the model sees it.
struct Judgement {
    /// Logit of what is so.
    logit: f64,
    /// How much longer the better answer is; none where no answer is the better one.
    longer_by: Option<f64>,
}

impl HeldOutReport {
    /// The report on `items`, whose texts have `scores`, in order; none of no items.
    pub(super) fn new(items: &[RewardItem], scores: &[f32]) -> Option<Self> {
        let lengths: Vec<f64> = (items.iter().flat_map(|item| &item.texts))
            .map(|text| text.answer_tokens as f64)
            .collect();
        let scores: Vec<f64> = scores.iter().copied().map(f64::from).collect();
        assert_eq!(scores.len(), lengths.len(), "one score a text");
        let is_pairwise = items.first()?.texts.len() == 2;
        let judgements = match is_pairwise {
            true => of_pairs(&scores, &lengths),
            false => of_answers(items, &scores, &lengths),
        };
        let predictions = match is_pairwise {
            true => pair_predictions(&judgements),
            false => answer_predictions(items, &scores),
        };
        let losses = judgements.iter().map(|judged| softplus(-judged.logit));
        let (mean_score, score_deviation) = mean_and_deviation(&scores);
        Some(Self {
            items: items.len(),
            accuracy: accuracy(judgements.iter())?,
            log_loss: losses.sum::<f64>() / judgements.len() as f64,
            calibration_error: calibration_error(&predictions),
            mean_score,
            score_deviation,
            length_pearson: pearson(&scores, &lengths),
            length_spearman: pearson(&ranks(&scores), &ranks(&lengths)),
            accuracy_if_shorter_is_better: accuracy(where_longer_by(&judgements, |by| by < 0.0)),
            accuracy_if_longer_is_better: accuracy(where_longer_by(&judgements, |by| by > 0.0)),
        })
    }

    /// The figures by name.
    pub(super) fn figures(&self) -> Vec<(&'static str, f64)> {
        let some = [
            ("accuracy", self.accuracy),
            ("log_loss", self.log_loss),
            ("calibration_error", self.calibration_error),
            ("mean_score", self.mean_score),
            ("score_deviation", self.score_deviation),
        ];
        let others = [
            ("length_pearson", self.length_pearson),
            ("length_spearman", self.length_spearman),
            (
                "accuracy_if_shorter_is_better",
                self.accuracy_if_shorter_is_better,
            ),
            (
                "accuracy_if_longer_is_better",
                self.accuracy_if_longer_is_better,
            ),
        ];
        let others = others.into_iter();
        let others = others.filter_map(|(name, value)| Some((name, value?)));
        some.into_iter().chain(others).collect()
    }
}

fn of_pairs(scores: &[f64], lengths: &[f64]) -> Vec<Judgement> {
    let pairs = scores.chunks(2).zip(lengths.chunks(2));
    pairs
        .map(|(scores, lengths)| Judgement {
            logit: scores[0] - scores[1],
            longer_by: Some(lengths[0] - lengths[1]),
        })
        .collect()
}

fn of_answers(items: &[RewardItem], scores: &[f64], lengths: &[f64]) -> Vec<Judgement> {
    let median = median(lengths);
    let answers = items.iter().zip(scores.iter().zip(lengths));
    answers
        .map(|(item, (score, length))| match item.targets[0] > 0.0 {
            true => Judgement {
                logit: *score,
                longer_by: Some(length - median),
            },
            false => Judgement {
                logit: -score,
                longer_by: None,
            },
        })
        .collect()
}

/// Probabilities that the first answer of a pair is the better one, and whether it is: both ways round.
fn pair_predictions(judgements: &[Judgement]) -> Vec<(f64, bool)> {
    let judgements = judgements.iter();
    let probabilities = judgements.map(|judged| sigmoid(judged.logit));
    probabilities
        .flat_map(|p| [(p, true), (1.0 - p, false)])
        .collect()
}

/// Probabilities that an answer is good, and whether it is.
fn answer_predictions(items: &[RewardItem], scores: &[f64]) -> Vec<(f64, bool)> {
    let answers = items.iter().zip(scores);
    answers
        .map(|(item, score)| (sigmoid(*score), item.targets[0] > 0.0))
        .collect()
}

fn where_longer_by(
    judgements: &[Judgement],
    is_meant: fn(f64) -> bool,
) -> impl Iterator<Item = &Judgement> {
    let is_meant = move |judged: &&Judgement| judged.longer_by.is_some_and(is_meant);
    judgements.iter().filter(is_meant)
}

/// Share of judgements that the model sees as they are; none of none.
fn accuracy<'a>(judgements: impl Iterator<Item = &'a Judgement>) -> Option<f64> {
    let (mut right, mut count) = (0, 0);
    for judged in judgements {
        right += usize::from(judged.logit > 0.0);
        count += 1;
    }
    (count > 0).then(|| f64::from(right as u32) / f64::from(count))
}

/// Of predicted probabilities and whether they came true.
fn calibration_error(predictions: &[(f64, bool)]) -> f64 {
    let mut bins = [(0.0, 0.0); BINS];
    for (p, is_so) in predictions {
        let bin = ((p * BINS as f64) as usize).min(BINS - 1);
        bins[bin].0 += p;
        bins[bin].1 += f64::from(*is_so);
    }
    let distances = bins.iter().map(|(p, so)| (p - so).abs());
    distances.sum::<f64>() / predictions.len().max(1) as f64
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// `log(1 + e^x)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (mean, (squares.sum::<f64>() / count).sqrt())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// Pearson's correlation; none if either is constant.
fn pearson(one: &[f64], other: &[f64]) -> Option<f64> {
    let (mean, deviation) = mean_and_deviation(one);
    let (other_mean, other_deviation) = mean_and_deviation(other);
    let products = one.iter().zip(other);
    let products = products.map(|(a, b)| (a - mean) * (b - other_mean));
    let covariance = products.sum::<f64>() / one.len().max(1) as f64;
    let scale = deviation * other_deviation;
    (scale > 0.0).then(|| covariance / scale)
}

/// Ranks from 0; equal values share their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = first as f64 + (equal.len() - 1) as f64 / 2.0;
        equal.iter().for_each(|place| ranks[*place] = rank);
        first += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-6
    }

    fn items(lengths: &[&[usize]], targets: &[&[f32]]) -> Vec<RewardItem> {
        let items = lengths.iter().zip(targets);
        items
            .map(|(lengths, targets)| RewardItem::of_lengths(lengths, targets))
            .collect()
    }

    #[test]
    fn pairs_are_judged_by_their_difference() {
        // Differences 1 (chosen longer by 2), −1 (shorter by 1), 3 (longer by 1).
        let items = items(&[&[5, 3], &[2, 3], &[4, 3]], &[&[0.0, 0.0][..]; 3]);
        let report = HeldOutReport::new(&items, &[2.0, 1.0, 0.0, 1.0, 3.0, 0.0]).unwrap();
        assert!(close(report.accuracy, 2.0 / 3.0));
        // (0.313262 + 1.313262 + 0.048587) / 3.
        assert!(close(report.log_loss, 0.558_370_3), "{}", report.log_loss);
        // Bin 0.2–0.3 has the second pair and the first turned: p 0.268941 twice, one of two is so;
        // bin 0.7–0.8 its mirror; bins 0 and 9 are the third: p 0.047426 and 0.952574.
        // (2 |2 · 0.268941 − 1| + 2 · 0.047426) / 6.
        let expected = (2.0 * 0.462_117_2 + 2.0 * 0.047_425_9) / 6.0;
        assert!(close(report.calibration_error, expected));
        assert_eq!(report.accuracy_if_shorter_is_better, Some(0.0));
        assert_eq!(report.accuracy_if_longer_is_better, Some(1.0));
        assert!(close(report.mean_score, 7.0 / 6.0));
    }

    #[test]
    fn answers_are_judged_by_their_label() {
        // Good: 1 of length 1, −1 of length 4; bad: −2 of length 2, 0.5 of length 3. Median 2.5.
        let items = items(&[&[1], &[4], &[2], &[3]], &[&[1.0], &[1.0], &[0.0], &[0.0]]);
        let report = HeldOutReport::new(&items, &[1.0, -1.0, -2.0, 0.5]).unwrap();
        assert_eq!((report.items, report.accuracy), (4, 0.5));
        // 0.313262, 1.313262, 0.126928, 0.974077.
        assert!(close(report.log_loss, 0.681_882), "{}", report.log_loss);
        // p: 0.731059 good, 0.268941 good, 0.119203 bad, 0.622459 bad, each in its own bin.
        let expected = (0.268_941_4 + 0.731_058_6 + 0.119_202_9 + 0.622_459_3) / 4.0;
        assert!(close(report.calibration_error, expected));
        assert_eq!(report.accuracy_if_shorter_is_better, Some(1.0));
        assert_eq!(report.accuracy_if_longer_is_better, Some(0.0));
    }

    #[test]
    fn correlations_are_those_of_the_textbook() {
        // Deviations −1.5, −0.5, 0.5, 1.5 and −2, −1, −1, 4: covariance sum 9, squares 5 and 22.
        let (one, other) = ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 2.0, 7.0]);
        assert!(close(
            pearson(&one, &other).unwrap(),
            9.0 / 110.0_f64.sqrt()
        ));
        // Ranks 0, 1.5, 1.5, 3: 4.5 / √(5 · 4.5).
        assert_eq!(ranks(&other), [0.0, 1.5, 1.5, 3.0]);
        let spearman = pearson(&ranks(&one), &ranks(&other)).unwrap();
        assert!(close(spearman, 4.5 / 22.5_f64.sqrt()));
        assert_eq!(pearson(&one, &[2.0; 4]), None);
    }

    #[test]
    fn certain_and_hopeless_pairs_have_finite_figures() {
        let items = items(&[&[1, 1], &[1, 1]], &[&[0.0, 0.0][..]; 2]);
        let report = HeldOutReport::new(&items, &[900.0, -900.0, -900.0, 900.0]).unwrap();
        assert_eq!((report.accuracy, report.log_loss), (0.5, 900.0));
        assert!(close(report.calibration_error, 0.5));
        assert_eq!(report.accuracy_if_longer_is_better, None);
        assert_eq!(HeldOutReport::new(&[], &[]), None);
    }
}
