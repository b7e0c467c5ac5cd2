//! Which linear layers an adapter changes, and where its tensors stand in its flat list.

use std::ops::Range;

use super::config::LoraConfig;
use super::module_filter::{LINEAR_NAMES, ModuleFilter, ModuleMatcher, is_name_of};
use crate::error::{Error, Result};
use crate::model::parameters::{Index, ParameterLayout};

/// Names, shapes and places of an adapter's tensors: `A` and `B` of each layer in turn, layers in
/// the model's order.
#[derive(Debug)]
pub(super) struct AdapterLayout {
    /// As PEFT's files spell them.
    pub names: Vec<String>,
    pub shapes: Vec<Vec<usize>>,
    pub pairs: Vec<Pair>,
    /// Where each block's tensors stand; they are neighbours.
    pub block_ranges: Vec<Range<usize>>,
    /// The pair of each of the model's parameters.
    pair_of: Vec<Option<usize>>,
}

/// The update of one layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// The layer's weight among the model's parameters.
    pub weight: Index,
    /// Factor of the update.
    pub scale: f64,
}

impl AdapterLayout {
    /// The tensors that `config` asks for in a model of layout `base`.
    ///
    /// # Errors
    /// When no layer is meant, or something is that is no linear layer of a block.
    pub(super) fn new(config: &LoraConfig, base: &ParameterLayout) -> Result<Self> {
        config.check()?;
        let selection = Selection::new(config)?;
        selection.refuse_other_modules(base)?;
        let ranks = config.rank_pattern.matcher("rank_pattern")?;
        let alphas = config.alpha_pattern.matcher("alpha_pattern")?;
        let mut layout = Self {
            names: Vec::new(),
            shapes: Vec::new(),
            pairs: Vec::new(),
            block_ranges: Vec::new(),
            pair_of: vec![None; base.names.len()],
        };
        for block in &base.layers {
            let start = layout.names.len();
            for weight in block.linears().map(|linear| linear.weight) {
                let path = base.module_path(weight);
                if selection.holds(path)? {
                    let rank = ranks.find(path)?.unwrap_or(config.rank);
                    let alpha = alphas.find(path)?.unwrap_or(config.alpha);
                    let scale = config.scale(rank, alpha);
                    layout.push(Pair { weight, scale }, rank, base);
                }
            }
            layout.block_ranges.push(start..layout.names.len());
        }
        match layout.pairs.is_empty() {
            true => Err(Error::setting(
                "targets",
                "means no linear layer of the model",
            )),
            false => Ok(layout),
        }
    }

    /// The pair that updates the parameter at `weight`, if one does.
    pub(super) fn pair_of(&self, weight: Index) -> Option<usize> {
        self.pair_of[weight]
    }

    /// Whether one of the tensors is called `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    fn push(&mut self, pair: Pair, rank: usize, base: &ParameterLayout) {
        let [outputs, inputs] = base.matrix_shape(pair.weight);
        let path = base.module_path(pair.weight);
        for (part, shape) in [("A", [rank, inputs]), ("B", [outputs, rank])] {
            let name = format!("base_model.model.{path}.lora_{part}.weight");
            self.names.push(name);
            self.shapes.push(shape.to_vec());
        }
        self.pair_of[pair.weight] = Some(self.pairs.len());
        self.pairs.push(pair);
    }
}

/// Refuses names that mean no linear layer, which are misspelt more often than meant.
pub(super) fn check_names(config: &LoraConfig, base: &ParameterLayout) -> Result<()> {
    let ModuleFilter::Names(names) = &config.targets else {
        return Ok(());
    };
    let paths: Vec<&str> = linear_paths(base).collect();
    let unknown = |name: &&String| !paths.iter().any(|path| is_name_of(name, path));
    let Some(name) = names.iter().find(unknown) else {
        return Ok(());
    };
    let known = LINEAR_NAMES.join(", ");
    let problem = format!("`{name}` is no linear layer of a block, expected some of {known}");
    Err(Error::setting("targets", problem))
}

/// The layers that a configuration means.
struct Selection<'a> {
    targets: ModuleMatcher,
    excludes: ModuleMatcher,
    blocks: &'a [usize],
}

impl<'a> Selection<'a> {
    fn new(config: &'a LoraConfig) -> Result<Self> {
        Ok(Self {
            targets: config.targets.matcher("targets")?,
            excludes: config.excludes.matcher("excludes")?,
            blocks: &config.blocks,
        })
    }

    fn holds(&self, path: &str) -> Result<bool> {
        if self.excludes.matches(path)? || !self.targets.matches(path)? {
            return Ok(false);
        }
        let in_blocks = || block_of(path).is_some_and(|block| self.blocks.contains(&block));
        Ok(self.blocks.is_empty() || self.names_whole(path) || in_blocks())
    }

    /// Whether a target is the whole path, which overrules the choice of blocks.
    fn names_whole(&self, path: &str) -> bool {
        matches!(&self.targets, ModuleMatcher::Names(names) if names.iter().any(|n| n == path))
    }

    /// PEFT would adapt or refuse these modules; here only linear layers of blocks are adapted.
    fn refuse_other_modules(&self, base: &ParameterLayout) -> Result<()> {
        for path in other_modules(base) {
            if self.holds(&path)? {
                let problem = format!(
                    "means `{path}`, expected only linear layers of the blocks ({})",
                    LINEAR_NAMES.join(", ")
                );
                return Err(Error::setting("targets", problem));
            }
        }
        Ok(())
    }
}

/// Paths of all linear layers of the blocks.
fn linear_paths(base: &ParameterLayout) -> impl Iterator<Item = &str> {
    let linears = base.layers.iter().flat_map(|block| block.linears());
    linears.map(|linear| base.module_path(linear.weight))
}

/// Paths of everything in the model, as transformers builds it, that is no linear layer of a block.
fn other_modules(base: &ParameterLayout) -> Vec<String> {
    let outer = [
        "model",
        "model.embed_tokens",
        "model.layers",
        "model.norm",
        "model.rotary_emb",
        "lm_head",
    ];
    let inner = [
        "",
        ".self_attn",
        ".self_attn.q_norm",
        ".self_attn.k_norm",
        ".mlp",
        ".mlp.act_fn",
        ".input_layernorm",
        ".post_attention_layernorm",
    ];
    let blocks = 0..base.layers.len();
    let inner = blocks.flat_map(|i| inner.map(|name| format!("model.layers.{i}{name}")));
    outer.map(str::to_owned).into_iter().chain(inner).collect()
}

/// The block that a path lies in.
fn block_of(path: &str) -> Option<usize> {
    let (block, _) = path.strip_prefix("model.layers.")?.split_once('.')?;
    block.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Family, ModelConfig};

    fn base() -> ParameterLayout {
        ParameterLayout::new(&ModelConfig {
            vocab_size: 11,
            hidden_size: 8,
            intermediate_size: 12,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 6,
            ..ModelConfig::of_family(Family::Qwen3)
        })
    }

    fn layout(settings: &str) -> Result<AdapterLayout> {
        AdapterLayout::new(&toml::from_str(settings).unwrap(), &base())
    }

    /// What is adapted: block, layer, rank and scale.
    fn adapted(settings: &str) -> Vec<String> {
        let layout = layout(settings).unwrap();
        let a = layout.names.iter().zip(&layout.shapes).step_by(2);
        a.zip(&layout.pairs)
            .map(|((name, shape), pair)| {
                let name = name.trim_start_matches("base_model.model.model.layers.");
                let name = name.trim_end_matches(".lora_A.weight");
                format!("{name} {} {}", shape[0], pair.scale)
            })
            .collect()
    }

    #[test]
    fn every_linear_layer_of_the_blocks_has_its_two_tensors_in_order() {
        let layout = layout("rank = 3").unwrap();
        assert_eq!(layout.pairs.len(), 14);
        assert_eq!(layout.block_ranges, [0..14, 14..28]);
        let up = "base_model.model.model.layers.1.mlp.up_proj.lora_";
        assert_eq!(
            layout.names[24..26],
            [format!("{up}A.weight"), format!("{up}B.weight")]
        );
        assert_eq!(layout.shapes[24..26], [vec![3, 8], vec![12, 3]]);
        let weight = layout.pairs[12].weight;
        assert_eq!(base().names[weight], "model.layers.1.mlp.up_proj.weight");
        assert_eq!(layout.pair_of(weight), Some(12));
        assert_eq!(layout.pair_of(0), None);
    }

    #[test]
    fn targets_excludes_and_blocks_choose_layers() {
        let q = |i| format!("{i}.self_attn.q_proj 8 1");
        assert_eq!(adapted("targets = ['q_proj']"), [q(0), q(1)]);
        assert_eq!(adapted("targets = ['q_proj']\nblocks = [1]"), [q(1)]);
        assert_eq!(adapted("targets = '.*q_proj'\nexcludes = '.*0.*'"), [q(1)]);
        let excluded = "targets = ['self_attn.q_proj']\nexcludes = ['layers.1.self_attn.q_proj']";
        assert_eq!(adapted(excluded), [q(0)]);
        let whole = "targets = ['model.layers.0.self_attn.q_proj', 'q_proj']\nblocks = [1]";
        assert_eq!(adapted(whole), [q(0), q(1)]);
    }

    #[test]
    fn patterns_change_rank_and_alpha_of_some_layers() {
        let settings = "
            rank = 4
            alpha = 8
            rslora = true
            targets = ['q_proj', 'v_proj']
            rank_pattern = { 'layers.1.*' = 16, 'v_proj' = 1 }
            alpha_pattern = { 'model.layers.0.self_attn.v_proj' = 3 }
        ";
        // 8 / √4, 3 / √1, 8 / √16 twice.
        let expected = [
            "0.self_attn.q_proj 4 4",
            "0.self_attn.v_proj 1 3",
            "1.self_attn.q_proj 16 2",
            "1.self_attn.v_proj 16 2",
        ];
        assert_eq!(adapted(settings), expected);
    }

    #[test]
    fn modules_that_are_no_linear_layers_of_blocks_are_refused() {
        for (settings, module) in [
            ("targets = ['q_proj', 'lm_head']", "lm_head"),
            ("targets = ['embed_tokens']", "model.embed_tokens"),
            ("targets = ['mlp']", "model.layers.0.mlp"),
            ("targets = '.*self_attn.*'", "model.layers.0.self_attn"),
            (
                "targets = '.*norm'\nexcludes = ['model.norm']",
                "model.layers.0.self_attn.q_norm",
            ),
        ] {
            let error = layout(settings).unwrap_err().to_string();
            let expected = format!("`targets`: means `{module}`, expected only linear layers");
            assert!(error.starts_with(&expected), "{error}");
        }
        for settings in ["targets = ['q']", "targets = 'q_proj'", "excludes = '.*'"] {
            let error = layout(settings).unwrap_err().to_string();
            assert_eq!(error, "`targets`: means no linear layer of the model");
        }
    }

    #[test]
    fn a_misspelt_name_is_refused_where_it_matters() {
        let config = toml::from_str("targets = ['q_proj', 'v_porj']").unwrap();
        let error = check_names(&config, &base()).unwrap_err().to_string();
        assert!(
            error.starts_with("`targets`: `v_porj` is no linear layer"),
            "{error}"
        );
        assert_eq!(AdapterLayout::new(&config, &base()).unwrap().pairs.len(), 2);
    }
}
