//! Settings of an adapter.

use serde::{Deserialize, Serialize};

use super::module_filter::ModuleFilter;
use super::patterns::Patterns;
use crate::error::{Error, Result};

/// The largest rank that can be meant.
const LARGEST_RANK: usize = 1 << 16;

/// Which layers a low-rank adapter changes and how strongly; defaults are PEFT's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank `r` of the update, at least 1; the paper takes 4 to 8, PEFT 8. Its memory and that of
    /// its optimiser grow in proportion.
    pub rank: usize,
    /// Numerator `α` of the scale `α / r`, above 0; PEFT takes 8.
    pub alpha: f64,
    /// Layers that get an update: `"all-linear"`, a list of names such as `["q_proj", "v_proj"]`, or
    /// a regular expression over whole paths such as `model.layers.0.mlp.up_proj`.
    pub targets: ModuleFilter,
    /// Layers left out of `targets`: a list of names or a regular expression.
    pub excludes: ModuleFilter,
    /// Blocks that get an update, from 0; empty means all. Not together with a regular expression
    /// in `targets`, and a target named by its whole path is always meant.
    pub blocks: Vec<usize>,
    /// Other ranks for some layers, by name or regular expression; the first that matches counts.
    pub rank_pattern: Patterns<usize>,
    /// Other `α` for some layers, by name or regular expression; the first that matches counts.
    pub alpha_pattern: Patterns<f64>,
    /// Scales by `α / √r` instead of `α / r` (rank-stabilised LoRA, arXiv:2312.03732).
    pub rslora: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 8.0,
            targets: ModuleFilter::all_linear(),
            excludes: ModuleFilter::none(),
            blocks: Vec::new(),
            rank_pattern: Patterns::default(),
            alpha_pattern: Patterns::default(),
            rslora: false,
        }
    }
}

impl LoraConfig {
    /// Checks the settings; `key` is where they stand in the recipe. Whether the model has the
    /// layers shows when the adapter is made.
    ///
    /// # Errors
    /// Names the first setting that is not usable.
    pub fn validate(&self, key: &str) -> Result<()> {
        self.check().map_err(|error| prefixed(error, key))
    }

    /// As [`Self::validate`], with bare names of settings.
    pub(super) fn check(&self) -> Result<()> {
        check_rank("rank", self.rank)?;
        check_alpha("alpha", self.alpha)?;
        for (_, rank) in self.rank_pattern.iter() {
            check_rank("rank_pattern", rank)?;
        }
        for (_, alpha) in self.alpha_pattern.iter() {
            check_alpha("alpha_pattern", alpha)?;
        }
        self.targets.matcher("targets")?;
        self.excludes.matcher("excludes")?;
        self.rank_pattern.matcher("rank_pattern")?;
        self.alpha_pattern.matcher("alpha_pattern")?;
        let is_pattern = matches!(self.targets.explicit(), ModuleFilter::Pattern(_));
        if is_pattern && !self.blocks.is_empty() {
            let problem = "cannot be used with a regular expression in `targets`, name the blocks \
                           in it";
            return Err(Error::setting("blocks", problem));
        }
        Ok(())
    }

    /// The scale of an update with these numbers.
    pub(super) fn scale(&self, rank: usize, alpha: f64) -> f64 {
        match self.rslora {
            true => alpha / (rank as f64).sqrt(),
            false => alpha / rank as f64,
        }
    }
}

fn check_rank(key: &str, rank: usize) -> Result<()> {
    if (1..=LARGEST_RANK).contains(&rank) {
        return Ok(());
    }
    let problem = format!("is {rank}, expected a rank from 1 to {LARGEST_RANK}");
    Err(Error::setting(key, problem))
}

fn check_alpha(key: &str, alpha: f64) -> Result<()> {
    if alpha.is_finite() && alpha > 0.0 {
        return Ok(());
    }
    let problem = format!("is {alpha}, must be above 0");
    Err(Error::setting(key, problem))
}

/// The error with `key` before the name of its setting.
pub(super) fn prefixed(error: Error, key: &str) -> Error {
    match error {
        Error::Setting { key: own, problem } => Error::setting(format!("{key}.{own}"), problem),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_is_alpha_by_the_rank_or_by_its_root() {
        let mut config = LoraConfig::default();
        assert_eq!(config.scale(16, 8.0), 0.5);
        config.rslora = true;
        assert_eq!(config.scale(16, 8.0), 2.0);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let refused = |text: &str| {
            let config: LoraConfig = toml::from_str(text).unwrap();
            config.validate("lora").unwrap_err().to_string()
        };
        for (text, expected) in [
            ("rank = 0", "`lora.rank`: is 0, expected a rank"),
            ("alpha = 0.0", "`lora.alpha`: is 0, must be above 0"),
            ("rank_pattern = { q_proj = 0 }", "`lora.rank_pattern`: is 0"),
            (
                "alpha_pattern = { q_proj = -1.0 }",
                "`lora.alpha_pattern`: is -1",
            ),
            ("targets = '('", "`lora.targets`: `(` is no regular"),
            ("excludes = '['", "`lora.excludes`: `[` is no regular"),
            (
                "rank_pattern = { '(' = 1 }",
                "`lora.rank_pattern`: `(` is no",
            ),
            (
                "targets = '.*q_proj'\nblocks = [0]",
                "`lora.blocks`: cannot be",
            ),
        ] {
            assert!(refused(text).starts_with(expected), "{}", refused(text));
        }
        let fine = "targets = 'all-linear'\nblocks = [0]\nrank_pattern = { q_proj = 1 }";
        let fine: LoraConfig = toml::from_str(fine).unwrap();
        fine.validate("lora").unwrap();
        assert!(toml::from_str::<LoraConfig>("lora_alpha = 3").is_err());
    }
}
