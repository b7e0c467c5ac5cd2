//! Words of a text: which language most are in, and how many are in a given one.
//!
//! A word is one of Unicode's (UAX #29): for Chinese a character, for Japanese a character or a run of
//! katakana, for Thai a character, elsewhere what stands between spaces and punctuation. Numbers, names
//! with digits or underscores, and single Latin or Greek letters (variables) are no words; in code and
//! formulas only what is neither Latin nor Greek counts, as it is prose there too.
//!
//! The script decides where it belongs to one of our languages; a sentence of Han characters with kana
//! is Japanese, one without is Chinese, or either if it is short. Sentences in Latin script are
//! identified by `whichlang`, short ones together with their neighbours, and a word counts as its
//! sentence's language. Text too short to identify counts as the language that is asked about.

use unicode_script::{Script, UnicodeScript as _};
use unicode_segmentation::UnicodeSegmentation as _;

use super::Language;
use super::language::Writing;
use super::prose::spans;

/// Latin letters from which a language can be identified.
const SURE_LETTERS: usize = 20;

/// Han characters from which a Japanese sentence has kana among them.
const SURE_HAN: usize = 8;

/// How many words a text has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordCount {
    /// Words of the language asked about.
    pub target: usize,
    /// Words of every language.
    pub all: usize,
}

impl Language {
    /// The language that most words of `text` are in; `None` for a text without words, or mostly in a
    /// language that is none of ours.
    pub fn of(text: &str) -> Option<Self> {
        let text = Text::read(text);
        let latin: usize = text.sentences.iter().map(|s| s.latin_words).sum();
        let mut most = (None, 0);
        for language in Self::all() {
            let words = text.not_latin(language);
            if words > most.1 {
                most = (Some(language), words);
            }
        }
        match latin > most.1 {
            true => identified(&text.latin()),
            false => most.0,
        }
    }

    /// Counts the words of `text`, and those of this language. Linear in the text.
    pub fn count(self, text: &str) -> WordCount {
        let text = Text::read(text);
        let target = match self.writing() {
            Writing::Latin(_) => text.latin_in(self),
            _ => text.not_latin(self),
        };
        let all = text.sentences.iter().map(Sentence::words).sum();
        WordCount { target, all }
    }
}

/// A text as sentences.
#[derive(Default)]
struct Text {
    sentences: Vec<Sentence>,
}

/// A sentence's words by script.
#[derive(Default)]
struct Sentence {
    /// The Latin words, each with a space behind it.
    latin: String,
    latin_words: usize,
    han: usize,
    kana: usize,
    others: Vec<(Script, usize)>,
}

impl Text {
    fn read(text: &str) -> Self {
        let mut sentences = vec![Sentence::default()];
        for span in spans(text) {
            for part in span.text.split_inclusive(ends_sentence) {
                let words = part.unicode_words().filter_map(scripted);
                let words = words.filter(|(_, script)| span.is_prose || !is_formal(*script));
                let Some(sentence) = sentences.last_mut() else {
                    continue;
                };
                words.for_each(|(word, script)| sentence.add(word, script));
                if span.is_prose && part.ends_with(ends_sentence) && sentence.words() > 0 {
                    sentences.push(Sentence::default());
                }
            }
        }
        Self { sentences }
    }

    /// Words of a language that is not written in Latin letters; none of one that is.
    fn not_latin(&self, language: Language) -> usize {
        let words = |sentence: &Sentence| match language.writing() {
            Writing::Latin(_) => 0,
            Writing::Own(script) => sentence.in_script(script),
            Writing::Han => sentence.chinese(),
            Writing::HanAndKana => sentence.japanese(),
        };
        self.sentences.iter().map(words).sum()
    }

    /// Words of a language in Latin letters: those of the pieces identified as it, a piece being as many
    /// sentences as it takes to be sure. What is left over belongs to the piece before it.
    fn latin_in(&self, language: Language) -> usize {
        let (mut piece, mut piece_words) = (String::new(), 0);
        let (mut target, mut is_target) = (0, true);
        for sentence in &self.sentences {
            piece.push_str(&sentence.latin);
            piece_words += sentence.latin_words;
            if piece.chars().filter(|c| c.is_alphabetic()).count() >= SURE_LETTERS {
                is_target = identified(&piece) == Some(language);
                target += if is_target { piece_words } else { 0 };
                piece.clear();
                piece_words = 0;
            }
        }
        target + if is_target { piece_words } else { 0 }
    }

    /// All Latin words.
    fn latin(&self) -> String {
        self.sentences.iter().map(|s| s.latin.as_str()).collect()
    }
}

impl Sentence {
    fn add(&mut self, word: &str, script: Script) {
        match script {
            Script::Latin => {
                self.latin.push_str(word);
                self.latin.push(' ');
                self.latin_words += 1;
            }
            Script::Han => self.han += 1,
            Script::Hiragana | Script::Katakana => self.kana += 1,
            _ => match self.others.iter_mut().find(|(known, _)| *known == script) {
                Some((_, words)) => *words += 1,
                None => self.others.push((script, 1)),
            },
        }
    }

    fn words(&self) -> usize {
        let others: usize = self.others.iter().map(|(_, words)| words).sum();
        self.latin_words + self.han + self.kana + others
    }

    fn in_script(&self, script: Script) -> usize {
        let entry = self.others.iter().find(|(known, _)| *known == script);
        entry.map_or(0, |(_, words)| *words)
    }

    fn chinese(&self) -> usize {
        if self.kana == 0 { self.han } else { 0 }
    }

    fn japanese(&self) -> usize {
        match self.kana == 0 && self.han >= SURE_HAN {
            true => 0,
            false => self.kana + self.han,
        }
    }
}

/// The language of Latin text, if it is one of ours.
fn identified(text: &str) -> Option<Language> {
    Language::written(Writing::Latin(whichlang::detect_language(text)))
}

/// A word with its script; `None` for what counts as none.
fn scripted(word: &str) -> Option<(&str, Script)> {
    if word.contains(|c: char| c.is_numeric() || c == '_') {
        return None;
    }
    let script = word
        .chars()
        .map(|c| c.script())
        .find(|script| !matches!(script, Script::Common | Script::Inherited | Script::Unknown))?;
    let is_variable = is_formal(script) && word.chars().filter(|c| c.is_alphabetic()).count() == 1;
    (!is_variable).then_some((word, script))
}

/// Whether code and formulas are written in this script.
fn is_formal(script: Script) -> bool {
    matches!(script, Script::Latin | Script::Greek)
}

fn ends_sentence(c: char) -> bool {
    matches!(
        c,
        '.' | '!' | '?' | ';' | ':' | '\n' | '…' | '。' | '！' | '？' | '；' | '：' | '।'
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn count(code: &str, text: &str) -> (usize, usize) {
        let language = Language::try_from(code.to_string()).unwrap();
        let count = language.count(text);
        (count.target, count.all)
    }

    #[test]
    fn words_are_unicode_words_and_characters_where_no_spaces_part_them() {
        assert_eq!(count("en", "Don't add them, please wait here."), (6, 6));
        assert_eq!(count("zh", "先算个位，再算十位。"), (8, 8));
        assert_eq!(count("ja", "まず足す。ラーメン"), (5, 5));
        assert_eq!(count("ko", "먼저 더하자"), (2, 2));
        assert_eq!(count("ru", "Сначала сложим и проверим"), (4, 4));
    }

    #[test]
    fn numbers_formulas_code_and_variables_are_no_words() {
        assert_eq!(count("en", "12 + 30 = 42, x > y, π"), (0, 0));
        assert_eq!(count("en", "x1 foo_bar 2nd"), (0, 0));
        assert_eq!(
            count("en", r"$\frac{ab}{cd}$ \(abc\) `let abc` ```def f```"),
            (0, 0)
        );
        assert_eq!(count("zh", "所以 $x+yz$ 是 42"), (3, 3));
    }

    #[test]
    fn foreign_words_hidden_in_code_or_formulas_count() {
        let hidden = "We add the numbers first $\\text{先算}$ `再算`";
        assert_eq!(count("en", hidden), (5, 9));
    }

    #[test]
    fn script_decides_between_chinese_and_english() {
        let mixed = "First we add the two numbers. 所以答案是四十二。";
        assert_eq!(count("en", mixed), (6, 14));
        assert_eq!(count("zh", mixed), (8, 14));
    }

    #[test]
    fn kana_tell_japanese_from_chinese() {
        let japanese = "まず一の位を計算します。";
        assert_eq!(count("zh", japanese).0, 0);
        assert_eq!(count("ja", japanese), (11, 11));
        let chinese = "首先计算个位上的数字之和";
        assert_eq!(count("ja", chinese), (0, 12));
        assert_eq!(count("ja", "計算開始"), (4, 4));
    }

    #[test]
    fn sentences_in_latin_script_are_identified() {
        let mixed =
            "Let me check the remainder again. Das stimmt nicht, also rechne ich noch einmal.";
        // 6 English words, 8 German ones.
        assert_eq!(count("en", mixed), (6, 14));
        assert_eq!(count("de", mixed), (8, 14));
        assert_eq!(count("fr", mixed), (0, 14));
    }

    #[test]
    fn short_latin_text_counts_as_what_is_asked_about() {
        assert_eq!(count("en", "Okay."), (1, 1));
        assert_eq!(count("de", "Okay."), (1, 1));
        assert_eq!(count("zh", "Okay."), (0, 1));
    }

    #[test]
    fn prompt_has_the_language_of_most_of_its_words() {
        for (text, code) in [
            ("What is the sum of 47 and 38?", "en"),
            ("Was ist die Summe von 47 und 38?", "de"),
            ("Quelle est la somme de 47 et 38 ?", "fr"),
            ("47加38等于多少？ Answer:", "zh"),
            ("47と38の和はいくつですか", "ja"),
            ("Сколько будет 47 плюс 38?", "ru"),
        ] {
            assert_eq!(Language::of(text).map(Language::code), Some(code), "{text}");
        }
        assert_eq!(Language::of("47+38=?"), None);
        assert_eq!(Language::of("ⴰⵣⵓⵍ ⴼⵍⵍⴰⵡⵏ"), None);
    }

    #[test]
    fn hostile_text_is_counted_quickly() {
        for piece in [
            "a.", "好", "の", "\u{301}", "\u{200d}", "🇦", "a'", "ab ", "....", "$a `", "à·1,",
        ] {
            let text = piece.repeat(200_000);
            let start = Instant::now();
            let count = Language::English.count(&text);
            assert!(count.target <= count.all, "{piece}");
            assert!(start.elapsed() < Duration::from_secs(10), "{piece}");
        }
    }
}
