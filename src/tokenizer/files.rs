//! The tokenizer's files of a model folder, kept as the texts they are.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Map, Value};

use super::chat_template::ChatTemplate;
use crate::error::{Error, Result};

const VOCABULARY_FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";
const TEMPLATE_FILE: &str = "chat_template.jinja";

/// What transformers needs to know of a folder that has only a `tokenizer.json`.
const MINIMAL_CONFIG: &str = "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n";

/// The texts of the files, and the folder they belong to, which messages name.
#[derive(Clone, Debug)]
pub(super) struct TokenizerFiles {
    folder: PathBuf,
    vocabulary: String,
    config: String,
    chat_template: Option<String>,
}

impl TokenizerFiles {
    /// Files that were not read from a folder.
    pub fn new(vocabulary: String, config: &Value) -> Self {
        Self {
            folder: PathBuf::new(),
            vocabulary,
            config: format!("{config:#}\n"),
            chat_template: None,
        }
    }

    /// Reads the files of `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let vocabulary = folder.join(VOCABULARY_FILE);
        Ok(Self {
            folder: folder.to_path_buf(),
            vocabulary: fs::read_to_string(&vocabulary).map_err(Error::io(vocabulary, "read"))?,
            config: read_if_there(&folder.join(CONFIG_FILE))?
                .unwrap_or_else(|| MINIMAL_CONFIG.to_owned()),
            chat_template: read_if_there(&folder.join(TEMPLATE_FILE))?,
        })
    }

    /// Writes the files into `folder`, which is made if need be.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        write_whole(&folder.join(VOCABULARY_FILE), &self.vocabulary)?;
        write_whole(&folder.join(CONFIG_FILE), &self.config)?;
        match &self.chat_template {
            Some(template) => write_whole(&folder.join(TEMPLATE_FILE), template),
            None => remove_if_there(&folder.join(TEMPLATE_FILE)),
        }
    }

    /// Where the configuration is, for messages.
    pub fn config_path(&self) -> PathBuf {
        self.folder.join(CONFIG_FILE)
    }

    /// The vocabulary with its normalizer, splitter and decoder.
    pub fn vocabulary(&self) -> Result<tokenizers::Tokenizer> {
        let failed = |error: tokenizers::Error| {
            let problem = format!("not a tokenizer as the `tokenizers` library writes it: {error}");
            Error::file(self.folder.join(VOCABULARY_FILE), problem)
        };
        let mut vocabulary = tokenizers::Tokenizer::from_str(&self.vocabulary).map_err(failed)?;
        // Training-time settings of the file's author: transformers ignores them as well.
        vocabulary.with_truncation(None).map_err(failed)?;
        vocabulary.with_padding(None);
        Ok(vocabulary)
    }

    /// The configuration's keys.
    pub fn config(&self) -> Result<Map<String, Value>> {
        serde_json::from_str(&self.config).map_err(|error| {
            Error::file(
                self.config_path(),
                format!("not a JSON object as transformers writes it: {error}"),
            )
        })
    }

    /// The chat template: the file of its own if there is one, else the configuration's.
    pub fn chat_template(&self, config: &Map<String, Value>) -> Result<Option<ChatTemplate>> {
        if let Some(source) = &self.chat_template {
            let origin = self.folder.join(TEMPLATE_FILE).display().to_string();
            return Ok(Some(ChatTemplate::new(origin, source)));
        }
        let path = self.config_path();
        match config.get("chat_template") {
            None | Some(Value::Null) => Ok(None),
            Some(value) => ChatTemplate::from_config(path.display().to_string(), value)
                .map(Some)
                .ok_or_else(|| {
                    let problem = "`chat_template` is neither a text nor a list of objects with \
                                   `name` and `template`";
                    Error::file(path, problem)
                }),
        }
    }

    /// The same files with another chat template, kept where the old one was.
    pub fn with_chat_template(mut self, source: &str) -> Result<Self> {
        if self.chat_template.is_some() {
            self.chat_template = Some(source.to_owned());
        } else {
            let mut config = self.config()?;
            config.insert("chat_template".into(), source.into());
            self.config = format!("{:#}\n", Value::Object(config));
        }
        Ok(self)
    }
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, "read")(error)),
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path, "remove")(error)),
        _ => Ok(()),
    }
}

/// Writes a sibling and renames it, so that the file is never seen half written.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // `File::create_new` gives the file the user's usual permissions instead of the private ones
    // of a temporary file.
    let mut file = tempfile::Builder::new()
        .make_in(folder, |sibling| File::create_new(sibling))
        .map_err(Error::io(path, "create"))?;
    file.write_all(text.as_bytes())
        .map_err(Error::io(path, "write"))?;
    let renamed = file.persist(path).map_err(|error| error.error);
    renamed.map(drop).map_err(Error::io(path, "write"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{BpeConfig, ChatOptions, Message, Tokenizer, train_byte_level_bpe};
    use tempfile::TempDir;

    /// A folder with a tokenizer whose files `change` then changes.
    fn folder(change: impl Fn(&Path)) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = train_byte_level_bpe(["a"].iter(), &BpeConfig::default()).unwrap();
        tokenizer.save(folder.path()).unwrap();
        change(folder.path());
        folder
    }

    fn rendered(folder: &TempDir) -> Result<String> {
        let tokenizer = Tokenizer::load(folder.path())?;
        tokenizer.render_chat(&[Message::user("hi")], &ChatOptions::default())
    }

    #[test]
    fn errors_name_the_file() {
        type Change = fn(&Path);
        let cases: [(&str, Change); 5] = [
            (VOCABULARY_FILE, |f| {
                fs::remove_file(f.join(VOCABULARY_FILE)).unwrap()
            }),
            (VOCABULARY_FILE, |f| {
                fs::write(f.join(VOCABULARY_FILE), "{\"model\"").unwrap()
            }),
            (CONFIG_FILE, |f| {
                fs::write(f.join(CONFIG_FILE), "[]").unwrap()
            }),
            (CONFIG_FILE, |f| {
                fs::write(
                    f.join(CONFIG_FILE),
                    r#"{"eos_token": {"content": "<eos>"}}"#,
                )
                .unwrap();
            }),
            (CONFIG_FILE, |f| {
                fs::write(f.join(CONFIG_FILE), r#"{"chat_template": 3}"#).unwrap()
            }),
        ];
        for (file, change) in cases {
            let folder = folder(change);
            let error = Tokenizer::load(folder.path()).unwrap_err().to_string();
            let path = folder.path().join(file).display().to_string();
            assert!(error.starts_with(&path), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_template_file_wins_over_the_configuration() {
        let folder = folder(|f| fs::write(f.join(TEMPLATE_FILE), "{{ messages|length }}").unwrap());
        assert_eq!(rendered(&folder).unwrap(), "1");
    }

    #[test]
    fn special_tokens_may_be_objects_and_reach_the_template() {
        let folder = folder(|f| {
            let config = r#"{"eos_token": {"content": "<|im_end|>", "lstrip": false},
                "add_bos_token": false, "chat_template": "{{ eos_token }}{{ bos_token }}"}"#;
            fs::write(f.join(CONFIG_FILE), config).unwrap();
        });
        assert_eq!(rendered(&folder).unwrap(), "<|im_end|>");
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        assert!(tokenizer.eos_token_id().is_some());
    }

    #[test]
    fn a_folder_without_configuration_encodes_but_does_not_chat() {
        let folder = folder(|f| fs::remove_file(f.join(CONFIG_FILE)).unwrap());
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        assert!(!tokenizer.has_chat_template());
        assert_eq!(tokenizer.encode("a", true).unwrap().len(), 1);
        assert!(rendered(&folder).is_err());
    }

    #[test]
    fn another_chat_template_is_saved_where_the_old_one_was() {
        let folder = folder(|_| {});
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let changed = tokenizer.with_chat_template("{{ 1 }}").unwrap();
        changed.save(folder.path()).unwrap();
        assert_eq!(rendered(&folder).unwrap(), "1");
        assert!(!folder.path().join(TEMPLATE_FILE).exists());
    }

    #[test]
    fn saving_leaves_only_the_tokenizers_files() {
        let folder = folder(|f| fs::write(f.join(TEMPLATE_FILE), "stale").unwrap());
        let tokenizer = train_byte_level_bpe(["a"].iter(), &BpeConfig::default()).unwrap();
        tokenizer.save(folder.path()).unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, [VOCABULARY_FILE, CONFIG_FILE]);
    }
}
