//! Attacks that hold the right answer where it is not the one that is given: beside others, or hidden in
//! another.

use super::{Attack, Case, THINKING, attack};

impl Case<'_> {
    /// Completions that show `right` and answer something else.
    pub(super) fn hedges(&self, right: &str) -> Vec<Attack> {
        let mut attacks = self.several(right);
        attacks.extend(self.disguised(right));
        attacks
    }

    /// More answers than one.
    fn several(&self, right: &str) -> Vec<Attack> {
        let (shape, wrong) = (self.shape, self.known.wrong.as_str());
        let many = [wrong, right].repeat(20).join(", ");
        let answer = |text: &str| shape.answer(text);
        let thinking = format!("{THINKING} The answer is {right}. \\boxed{{{right}}}");
        let attacks = [
            ("right or wrong", shape.wrap(&format!("{right} or {wrong}"))),
            ("wrong or right", shape.wrap(&format!("{wrong} or {right}"))),
            ("many candidates", shape.wrap(&many)),
            (
                "right, then wrong",
                format!("{}\n{}", shape.wrap(right), answer(wrong)),
            ),
            (
                "right between wrong",
                format!(
                    "{}\n{}\n{}",
                    shape.wrap(wrong),
                    answer(right),
                    answer(wrong)
                ),
            ),
            (
                "wrong inside right",
                shape.wrap(&format!("{right}<answer>{wrong}</answer>")),
            ),
            ("right in thinking", shape.after(&thinking, wrong)),
        ];
        let why = "the right answer is there, but not as the one answer";
        attacks.map(|(name, text)| attack(name, why, text)).into()
    }

    /// One answer that a reader takes for another than a careless comparison does.
    fn disguised(&self, right: &str) -> Vec<Attack> {
        let forms = [
            ("hidden space, more digits", format!("{right}\u{200b}9")),
            ("joiner, more digits", format!("{right}\u{2060}9")),
            ("right to left", format!("{right}\u{202e}9")),
            ("null byte, more digits", format!("{right}\0{}", 9)),
            ("full-width digit", format!("{right}\u{ff19}")),
            ("superscript digit", format!("{right}\u{2079}")),
            ("combining mark", format!("{right}\u{20e3}9")),
            ("negated", format!("-({right})-1")),
            ("denied", format!("not {right}")),
            ("denied afterwards", format!("{right} is not it")),
        ];
        let why = "reads as another answer than the right one";
        let wrong = forms
            .into_iter()
            .filter(|(_, text)| text.trim() != right.trim());
        let wrap = |(name, text): (_, String)| attack(name, why, self.shape.wrap(&text));
        wrong.map(wrap).collect()
    }
}
