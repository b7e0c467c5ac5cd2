//! The languages that a recipe can ask for.

use serde::{Deserialize, Serialize};
use unicode_script::Script;
use whichlang::Lang;

use crate::error::{Error, Result};

/// A language that can be told from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Language {
    /// Arabic, or another language in its script.
    Arabic,
    /// Bengali, or another language in its script.
    Bengali,
    /// Chinese.
    Chinese,
    /// Dutch.
    Dutch,
    /// English.
    English,
    /// French.
    French,
    /// German.
    German,
    /// Greek.
    Greek,
    /// Hebrew, or another language in its script.
    Hebrew,
    /// Hindi, or another language in Devanagari.
    Hindi,
    /// Italian.
    Italian,
    /// Japanese.
    Japanese,
    /// Korean.
    Korean,
    /// Portuguese.
    Portuguese,
    /// Russian, or another language in Cyrillic.
    Russian,
    /// Spanish.
    Spanish,
    /// Swedish.
    Swedish,
    /// Tamil.
    Tamil,
    /// Telugu.
    Telugu,
    /// Thai.
    Thai,
    /// Turkish.
    Turkish,
    /// Vietnamese.
    Vietnamese,
}

/// How a language is written, by which its words are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// In Latin letters, which many share; `whichlang` knows it as this.
    Latin(Lang),
    /// In a script that none of our other languages has.
    Own(Script),
    /// In Han characters.
    Han,
    /// In Han characters and kana.
    HanAndKana,
}

/// Every language with its ISO 639-1 code.
const LANGUAGES: [(Language, &str, Writing); 22] = [
    (Language::Arabic, "ar", Writing::Own(Script::Arabic)),
    (Language::Bengali, "bn", Writing::Own(Script::Bengali)),
    (Language::Chinese, "zh", Writing::Han),
    (Language::Dutch, "nl", Writing::Latin(Lang::Nld)),
    (Language::English, "en", Writing::Latin(Lang::Eng)),
    (Language::French, "fr", Writing::Latin(Lang::Fra)),
    (Language::German, "de", Writing::Latin(Lang::Deu)),
    (Language::Greek, "el", Writing::Own(Script::Greek)),
    (Language::Hebrew, "he", Writing::Own(Script::Hebrew)),
    (Language::Hindi, "hi", Writing::Own(Script::Devanagari)),
    (Language::Italian, "it", Writing::Latin(Lang::Ita)),
    (Language::Japanese, "ja", Writing::HanAndKana),
    (Language::Korean, "ko", Writing::Own(Script::Hangul)),
    (Language::Portuguese, "pt", Writing::Latin(Lang::Por)),
    (Language::Russian, "ru", Writing::Own(Script::Cyrillic)),
    (Language::Spanish, "es", Writing::Latin(Lang::Spa)),
    (Language::Swedish, "sv", Writing::Latin(Lang::Swe)),
    (Language::Tamil, "ta", Writing::Own(Script::Tamil)),
    (Language::Telugu, "te", Writing::Own(Script::Telugu)),
    (Language::Thai, "th", Writing::Own(Script::Thai)),
    (Language::Turkish, "tr", Writing::Latin(Lang::Tur)),
    (Language::Vietnamese, "vi", Writing::Latin(Lang::Vie)),
];

impl Language {
    /// The ISO 639-1 code, by which recipes name it.
    pub fn code(self) -> &'static str {
        self.entry().1
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        LANGUAGES.iter().map(|(language, ..)| *language)
    }

    pub(super) fn writing(self) -> Writing {
        self.entry().2
    }

    /// The language that is written so.
    pub(super) fn written(writing: Writing) -> Option<Self> {
        Self::all().find(|language| language.writing() == writing)
    }

    fn entry(self) -> &'static (Self, &'static str, Writing) {
        let mut entries = LANGUAGES.iter();
        let entry = entries.find(|(language, ..)| *language == self);
        entry.expect("the table holds every language")
    }
}

impl From<Language> for String {
    fn from(language: Language) -> Self {
        language.code().into()
    }
}

impl TryFrom<String> for Language {
    type Error = Error;

    fn try_from(code: String) -> Result<Self> {
        let entry = LANGUAGES.iter().find(|(_, known, _)| *known == code);
        entry.map(|(language, ..)| *language).ok_or_else(|| {
            let codes = LANGUAGES.map(|(_, code, _)| code).join(", ");
            Error::setting("language", format!("is `{code}`, expected one of {codes}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_is_read_back_from_its_code() {
        for (language, code, _) in LANGUAGES {
            assert_eq!(String::from(language), code);
            assert_eq!(Language::try_from(code.to_string()).unwrap(), language);
        }
        let error = Language::try_from("xx".to_string()).unwrap_err();
        assert!(
            error.to_string().contains("expected one of ar, bn, zh"),
            "{error}"
        );
    }
}
