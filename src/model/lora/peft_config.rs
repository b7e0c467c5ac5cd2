//! `adapter_config.json`: an adapter's settings as PEFT writes and reads them.
//!
//! Keys left out mean what PEFT takes them to mean; keys it does not know pass; values that stand
//! for another method than the plain one are refused.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::config::LoraConfig;
use super::module_filter::ModuleFilter;
use crate::error::{Error, Result};
use crate::files;
use crate::model::config::keys::Keys;
use crate::model::config::{in_file, parse_object};

/// The file's name in an adapter folder.
pub(super) const CONFIG_FILE: &str = "adapter_config.json";

/// Keys that are supported only where they are left out or switched off.
const UNSUPPORTED: [&str; 16] = [
    "alora_invocation_tokens",
    "arrow_config",
    "bias",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "modules_to_save",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

/// Ways of making a fresh adapter that leave the base weights as they are.
const PLAIN_BEGINNINGS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

const FILTER: &str = "a list of layer names or a regular expression";

/// Reads the settings from `dir`. Dropout is no part of them: it is off in emberl.
///
/// # Errors
/// Names file and key when a value is broken or stands for what emberl does not have.
pub(super) fn read(dir: &Path) -> Result<LoraConfig> {
    let path = dir.join(CONFIG_FILE);
    let text = fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
    let map = parse_object(&text, &path)?;
    let config = from_keys(Keys::new(&map));
    config.map_err(|error| in_peft_file(error, &path))
}

/// Writes the settings to `dir`, with the name or path of the base model if one is given.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(dir: &Path, config: &LoraConfig, base_model: Option<&str>) -> Result<()> {
    let excludes = match &config.excludes {
        ModuleFilter::Names(names) if names.is_empty() => None,
        excludes => Some(excludes),
    };
    let alphas = config.alpha_pattern.iter();
    let alphas = alphas.map(|(pattern, alpha)| (pattern.to_owned(), number(alpha)));
    let value = json!({
        "alpha_pattern": Value::Object(alphas.collect()),
        "base_model_name_or_path": base_model,
        "bias": "none",
        "exclude_modules": excludes,
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layer_replication": null,
        "layers_pattern": null,
        "layers_to_transform": (!config.blocks.is_empty()).then_some(&config.blocks),
        "lora_alpha": number(config.alpha),
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": config.rank,
        "rank_pattern": config.rank_pattern,
        "revision": null,
        "target_modules": config.targets.explicit(),
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": config.rslora,
    });
    files::write_json(&dir.join(CONFIG_FILE), &value)
}

/// An error about a setting as one about the key that stands for it in the file at `path`.
pub(super) fn in_peft_file(error: Error, path: &Path) -> Error {
    let error = match error {
        Error::Setting { key, problem } => Error::setting(peft_key(&key), problem),
        other => other,
    };
    in_file(error, path)
}

fn peft_key(key: &str) -> &str {
    match key {
        "rank" => "r",
        "alpha" => "lora_alpha",
        "targets" => "target_modules",
        "excludes" => "exclude_modules",
        "blocks" => "layers_to_transform",
        other => other,
    }
}

fn from_keys(keys: Keys<'_>) -> Result<LoraConfig> {
    let method: String = keys.required("peft_type", "\"LORA\"")?;
    if method != "LORA" {
        return Err(keys.wrong("peft_type", "\"LORA\""));
    }
    for key in UNSUPPORTED {
        if !is_off(keys.optional(key, "null")?) {
            return Err(keys.wrong(key, "it switched off: emberl has plain adapters only"));
        }
    }
    check_beginning(keys)?;
    check_layers_pattern(keys)?;
    let usual = LoraConfig::default();
    let config = LoraConfig {
        rank: keys.count_or("r", usual.rank)?,
        alpha: keys.or("lora_alpha", usual.alpha, "a number")?,
        targets: keys.required("target_modules", FILTER)?,
        excludes: (keys.optional("exclude_modules", FILTER)?).unwrap_or(usual.excludes),
        blocks: blocks(keys)?,
        rank_pattern: (keys.optional("rank_pattern", "ranks by layer")?).unwrap_or_default(),
        alpha_pattern: (keys.optional("alpha_pattern", "numbers by layer")?).unwrap_or_default(),
        rslora: keys.flag_or("use_rslora", usual.rslora)?,
    };
    config.check()?;
    Ok(config)
}

/// Whether a value is how PEFT writes that something is not used.
fn is_off(value: Option<Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => true,
        Some(Value::String(text)) => text == "none",
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Bool(true) | Value::Number(_)) => false,
    }
}

/// PEFT begins an adapter again when it loads one, and some ways to begin change the base weights.
fn check_beginning(keys: Keys<'_>) -> Result<()> {
    let key = "init_lora_weights";
    match keys.optional(key, "true or false")? {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(Value::String(name)) if PLAIN_BEGINNINGS.contains(&&name.to_lowercase()[..]) => Ok(()),
        Some(_) => Err(keys.wrong(key, "one that leaves the base weights alone, as true does")),
    }
}

/// Blocks are called `layers` in every model that emberl has.
fn check_layers_pattern(keys: Keys<'_>) -> Result<()> {
    let key = "layers_pattern";
    let is_usual = match keys.optional(key, "null")? {
        Some(Value::Array(names)) => names.iter().all(|name| name == "layers"),
        Some(Value::String(name)) => name.is_empty() || name == "layers",
        other => is_off(other),
    };
    match is_usual {
        true => Ok(()),
        false => Err(keys.wrong(key, "null or \"layers\"")),
    }
}

/// One block, or a list.
fn blocks(keys: Keys<'_>) -> Result<Vec<usize>> {
    let (key, expected) = ("layers_to_transform", "a list of block numbers or null");
    match keys.optional(key, expected)? {
        Some(Value::Number(_)) => Ok(vec![keys.required(key, expected)?]),
        _ => Ok(keys.optional(key, expected)?.unwrap_or_default()),
    }
}

/// A whole number without a fraction, as PEFT writes it.
fn number(value: f64) -> Value {
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => json!(value as i64),
        false => json!(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(mut extra: Value) -> Result<LoraConfig> {
        let map = extra.as_object_mut().unwrap();
        let usual = [
            ("peft_type", json!("LORA")),
            ("target_modules", json!(["q_proj"])),
        ];
        for (key, value) in usual {
            map.entry(key).or_insert(value);
        }
        from_keys(Keys::new(map))
    }

    #[test]
    fn keys_left_out_and_unknown_keys_are_as_peft_takes_them() {
        let config = parse(json!({"new_key": {"a": 1}, "lora_dropout": 0.1})).unwrap();
        let expected = LoraConfig {
            targets: ModuleFilter::Names(vec!["q_proj".to_owned()]),
            ..LoraConfig::default()
        };
        assert_eq!(config, expected);
        let off = json!({"bias": "none", "use_dora": false, "modules_to_save": [],
            "layer_replication": null, "init_lora_weights": "gaussian", "layers_pattern": "layers",
            "layers_to_transform": 1, "fan_in_fan_out": false});
        let config = parse(off).unwrap();
        assert_eq!(config.blocks, [1]);
    }

    #[test]
    fn what_emberl_does_not_have_is_refused_by_its_key() {
        for (key, value) in [
            ("peft_type", json!("LOHA")),
            ("bias", json!("all")),
            ("use_dora", json!(true)),
            ("fan_in_fan_out", json!(true)),
            ("modules_to_save", json!(["lm_head"])),
            ("layer_replication", json!([[0, 1]])),
            ("lora_bias", json!(true)),
            ("trainable_token_indices", json!([1])),
            ("target_parameters", json!(["x"])),
            ("init_lora_weights", json!("pissa")),
            ("layers_pattern", json!(["h"])),
            ("layers_to_transform", json!("1")),
            ("target_modules", Value::Null),
            ("r", json!(0)),
            ("lora_alpha", json!("8")),
            ("rank_pattern", json!({"q_proj": -1})),
        ] {
            let mut keys = serde_json::Map::new();
            keys.insert(key.to_owned(), value);
            let error = parse(Value::Object(keys)).expect_err(key);
            let message = in_peft_file(error, Path::new("a.json")).to_string();
            assert!(
                message.starts_with(&format!("a.json: `{key}`: is ")),
                "{message}"
            );
        }
    }

    #[test]
    fn settings_come_back_as_they_were_written() {
        let text = "
            rank = 3
            alpha = 4.5
            excludes = '.*0.*up_proj'
            blocks = [0, 2]
            rank_pattern = { q_proj = 5, '.*_proj' = 2 }
            alpha_pattern = { up_proj = 7 }
            rslora = true
        ";
        let mut config: LoraConfig = toml::from_str(text).unwrap();
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &config, Some("base")).unwrap();
        config.targets = config.targets.explicit();
        assert_eq!(read(dir.path()).unwrap(), config);
        let written = fs::read_to_string(dir.path().join(CONFIG_FILE)).unwrap();
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(written["base_model_name_or_path"], "base");
        assert_eq!(written["alpha_pattern"].to_string(), r#"{"up_proj":7}"#);
        assert_eq!(written["target_modules"].as_array().unwrap().len(), 7);
    }
}
