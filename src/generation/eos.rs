//! Which ids end a completion, as a model folder says.

use std::path::Path;

use crate::error::Result;
use crate::model::{GenerationDefaults, ModelConfig};
use crate::tokenizer::Tokenizer;

/// The end-of-text ids of the model folder `dir`: those of `generation_config.json`, else those of
/// its `config.json`, else its tokenizer's; none where none of them names any.
///
/// # Errors
/// When `generation_config.json` is there but not usable.
pub fn eos_token_ids(dir: &Path, config: &ModelConfig, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let sources = [
        GenerationDefaults::load(dir)?.eos_token_ids,
        config.eos_token_ids.clone(),
        tokenizer.eos_token_id().into_iter().collect(),
    ];
    let named = sources.into_iter().find(|ids| !ids.is_empty());
    Ok(named.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::write_text;
    use crate::model::Family;
    use crate::tokenizer::{BpeConfig, train_byte_level_bpe};

    fn config(eos_token_ids: &[u32]) -> ModelConfig {
        ModelConfig {
            eos_token_ids: eos_token_ids.to_vec(),
            ..ModelConfig::of_family(Family::Qwen2)
        }
    }

    #[test]
    fn generation_config_wins_over_config_and_config_over_tokenizer() {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = train_byte_level_bpe(["1+1=2"].into_iter(), &BpeConfig::default()).unwrap();
        let ids = |config| eos_token_ids(dir.path(), &config, &tokenizer).unwrap();
        let own = tokenizer.eos_token_id().unwrap();
        assert_eq!(ids(config(&[])), [own]);
        assert_eq!(ids(config(&[own + 1])), [own + 1]);
        let defaults = r#"{"eos_token_id": [7, 8]}"#;
        write_text(&dir.path().join("generation_config.json"), defaults).unwrap();
        assert_eq!(ids(config(&[own + 1])), [7, 8]);
    }
}
