//! A decoder's numbers from and to the keys of `config.json`.

use serde_json::{Map, Value, json};

use super::family::Defaults;
use super::keys::Keys;
use super::{Family, Head, ModelConfig, Rope, SourceKeys};
use crate::error::{Error, Result};
use crate::model::weight_dtype::WeightDtype;

/// Keys that are not carried over as they were: the older spelling of `rope_parameters` and `dtype`,
/// the number of labels, which is that of `id2label`, and a key that Qwen2 needs only where it differs
/// from the quotient.
const DROPPED_KEYS: [&str; 6] = [
    "num_labels",
    "rope_theta",
    "rope_scaling",
    "original_max_position_embeddings",
    "torch_dtype",
    "head_dim",
];

/// How transformers calls the one number of a score.
const LABEL: &str = "LABEL_0";

impl ModelConfig {
    /// Reads and checks the keys of a `config.json`; errors name the key.
    pub(super) fn from_map(map: Map<String, Value>) -> Result<Self> {
        let keys = Keys::new(&map);
        let names = "a list of names";
        let architectures: Option<Vec<String>> = keys.optional("architectures", names)?;
        let model_type: Option<String> = keys.optional("model_type", "a name")?;
        let architectures = architectures.unwrap_or_default();
        let (family, head) = Family::named(model_type.as_deref(), &architectures)?;
        let mut config = Self::from_keys(&map, family)?;
        config.head = head;
        if head == Head::Score {
            refuse_other_labels(keys)?;
        }
        refuse_unsupported(keys)?;
        config.validate()?;
        refuse_sliding_window(keys, &config)?;
        config.source = SourceKeys(map);
        Ok(config)
    }

    /// Reads every key that describes the decoder, each by itself.
    pub(super) fn from_keys(map: &Map<String, Value>, family: Family) -> Result<Self> {
        let keys = Keys::new(map);
        let defaults = family.defaults();
        let hidden_size = keys.count_or("hidden_size", 4096)?;
        let heads = keys.count_or("num_attention_heads", 32)?;
        let positions =
            keys.count_or("max_position_embeddings", defaults.max_position_embeddings)?;
        let token =
            |key, default| Ok::<_, Error>(keys.token_ids_or(key, default)?.first().copied());
        Ok(Self {
            family,
            head: Head::Vocabulary,
            vocab_size: keys.count_or("vocab_size", defaults.vocab_size)?,
            hidden_size,
            intermediate_size: keys.count_or("intermediate_size", defaults.intermediate_size)?,
            num_hidden_layers: keys.count_or("num_hidden_layers", 32)?,
            num_attention_heads: heads,
            num_key_value_heads: read_key_value_heads(keys, &defaults, heads)?,
            head_dim: read_head_dim(keys, &defaults, hidden_size, heads)?,
            max_position_embeddings: positions,
            rms_norm_eps: keys.or("rms_norm_eps", 1e-6, "a number")?,
            rope: Rope::read(keys, positions)?,
            tie_word_embeddings: keys.flag_or("tie_word_embeddings", false)?,
            attention_bias: family.reads_attention_bias()
                && keys.flag_or("attention_bias", false)?,
            mlp_bias: family.reads_mlp_bias() && keys.flag_or("mlp_bias", false)?,
            dtype: read_dtype(keys)?,
            bos_token_id: token("bos_token_id", defaults.bos_token_id)?,
            eos_token_ids: keys.token_ids_or("eos_token_id", defaults.eos_token_id)?,
            pad_token_id: token("pad_token_id", None)?,
            source: SourceKeys::default(),
        })
    }

    /// The text of `config.json` in the spelling of transformers 5, with every key of the file this
    /// config was read from that does not describe the decoder.
    pub fn to_json(&self) -> String {
        let mut map = self.source.0.clone();
        map.retain(|key, _| !DROPPED_KEYS.contains(&key.as_str()));
        for (key, value) in self.described() {
            map.insert(key.to_owned(), value);
        }
        if self.family == Family::Mistral {
            // Left out, the key would mean a window of 4096 tokens.
            map.entry("sliding_window").or_insert(Value::Null);
        }
        map.sort_keys();
        format!("{:#}\n", Value::Object(map))
    }

    /// Every key that describes the decoder.
    fn described(&self) -> Vec<(&'static str, Value)> {
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        let mut entries = vec![
            (
                "architectures",
                json!([self.family.architecture(self.head)]),
            ),
            ("model_type", json!(self.family.model_type())),
            ("hidden_act", json!("silu")),
            ("rms_norm_eps", json!(self.rms_norm_eps)),
            ("rope_parameters", self.rope.to_json()),
            ("tie_word_embeddings", json!(self.tie_word_embeddings)),
            ("dtype", json!(self.dtype.name())),
            ("bos_token_id", json!(self.bos_token_id)),
            ("eos_token_id", eos),
            ("pad_token_id", json!(self.pad_token_id)),
        ];
        if self.head == Head::Score {
            // By these transformers knows how many numbers the head gives.
            entries.push(("id2label", json!({"0": LABEL})));
            entries.push(("label2id", json!({LABEL: 0})));
        }
        entries.extend(self.counts().map(|(key, value, _)| (key, json!(value))));
        if self.family == Family::Qwen2
            && self.head_dim * self.num_attention_heads == self.hidden_size
        {
            entries.retain(|(key, _)| *key != "head_dim");
        }
        if self.family.reads_attention_bias() {
            entries.push(("attention_bias", json!(self.attention_bias)));
        }
        if self.family.reads_mlp_bias() {
            entries.push(("mlp_bias", json!(self.mlp_bias)));
        }
        entries
    }
}

fn read_key_value_heads(keys: Keys, defaults: &Defaults, heads: usize) -> Result<usize> {
    let key = "num_key_value_heads";
    let default = defaults.num_key_value_heads.or(Some(heads));
    let expected = "a whole number or null";
    Ok(keys.or(key, default, expected)?.unwrap_or(heads))
}

fn read_head_dim(
    keys: Keys,
    defaults: &Defaults,
    hidden_size: usize,
    heads: usize,
) -> Result<usize> {
    if let Some(head_dim) = keys.count("head_dim")?.or(defaults.head_dim) {
        return Ok(head_dim);
    }
    if heads == 0 || !hidden_size.is_multiple_of(heads) {
        let problem = format!(
            "is {hidden_size}, expected a multiple of num_attention_heads ({heads}) where head_dim is not given"
        );
        return Err(Error::setting("hidden_size", problem));
    }
    Ok(hidden_size / heads)
}

fn read_dtype(keys: Keys) -> Result<WeightDtype> {
    let supported = "one of float32, float16, bfloat16";
    for key in ["dtype", "torch_dtype"] {
        if let Some(name) = keys.optional::<String>(key, supported)? {
            return WeightDtype::from_name(&name).ok_or_else(|| keys.wrong(key, supported));
        }
    }
    Ok(WeightDtype::default())
}

/// Refuses a head of several numbers; without a key there are two.
fn refuse_other_labels(keys: Keys) -> Result<()> {
    let labels: Option<Map<String, Value>> = keys.optional("id2label", "an object of labels")?;
    let (key, count) = match labels {
        Some(labels) => ("id2label", Some(labels.len())),
        None => ("num_labels", keys.count("num_labels")?),
    };
    match count {
        Some(1) => Ok(()),
        Some(_) => Err(keys.wrong(key, "one label: a score")),
        None => {
            let problem = "is missing, which means two labels; expected one: a score";
            Err(Error::setting(key, problem))
        }
    }
}

fn refuse_unsupported(keys: Keys) -> Result<()> {
    if keys.or("hidden_act", "silu".to_owned(), "a name")? != "silu" {
        return Err(keys.wrong("hidden_act", "silu, the only activation supported"));
    }
    if !keys.flag_or("is_causal", true)? {
        return Err(keys.wrong(
            "is_causal",
            "true: bidirectional attention is not supported",
        ));
    }
    for key in ["quantization_config", "per_layer_config"] {
        if keys.optional::<Value>(key, "")?.is_some() {
            return Err(keys.wrong(key, "null: it is not supported"));
        }
    }
    Ok(())
}

/// Refuses attention windows that a sequence within the model's length could exceed.
fn refuse_sliding_window(keys: Keys, config: &ModelConfig) -> Result<()> {
    let key = "sliding_window";
    let default = config.family.defaults().sliding_window;
    let window: Option<usize> = keys.or(key, default, "a whole number or null")?;
    let window = match config.family {
        Family::Llama => None,
        Family::Mistral => window,
        Family::Qwen2 | Family::Qwen3 => {
            let slides = keys.flag_or("use_sliding_window", false)?;
            window_in_use(keys, config, window.filter(|_| slides))?
        }
    };
    let positions = config.max_position_embeddings;
    match window {
        Some(window) if window < positions => {
            let problem = format!(
                "is {window}, but only full attention is supported: \
                 expected null or at least max_position_embeddings ({positions})"
            );
            Err(Error::setting(key, problem))
        }
        _ => Ok(()),
    }
}

/// `window` if some layer has it: `layer_types` decides, else the layers from `max_window_layers` on.
fn window_in_use(keys: Keys, config: &ModelConfig, window: Option<usize>) -> Result<Option<usize>> {
    let (key, layers) = ("layer_types", config.num_hidden_layers);
    let Some(types) = keys.optional::<Vec<String>>(key, "a list of names")? else {
        let first = keys.count_or("max_window_layers", 28)?;
        return Ok(window.filter(|_| first < layers));
    };
    if types.len() != layers {
        return Err(keys.wrong(key, &format!("one entry for each of {layers} layers")));
    }
    let all_full = types.iter().all(|kind| kind == "full_attention");
    let windowed = ["full_attention", "sliding_attention"];
    match window {
        _ if all_full => Ok(None),
        Some(_) if types.iter().all(|kind| windowed.contains(&kind.as_str())) => Ok(window),
        _ => Err(keys.wrong(key, "full_attention for every layer")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::config::RopeScaling;

    const QWEN2: &str = r#"{
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 600,
        "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
        "max_position_embeddings": 512, "rms_norm_eps": 1e-05, "tie_word_embeddings": true,
        "bos_token_id": null, "eos_token_id": 595, "pad_token_id": 593,
        "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}, "dtype": "bfloat16"
    }"#;

    const LLAMA: &str = r#"{
        "model_type": "llama", "vocab_size": 560, "hidden_size": 48, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "eos_token_id": [558, 559], "rope_theta": 5000,
        "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 64, "rope_type": "llama3"},
        "torch_dtype": "float16"
    }"#;

    fn map(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    /// `base` with the keys of `changes` instead.
    fn changed(base: &str, changes: &Value) -> Result<ModelConfig> {
        let mut map = map(base);
        map.extend(changes.as_object().unwrap().clone());
        let text = Value::Object(map).to_string();
        ModelConfig::from_json(&text, Path::new("config.json"))
    }

    fn refusal(base: &str, changes: &Value) -> String {
        changed(base, changes).unwrap_err().to_string()
    }

    #[test]
    fn both_spellings_describe_the_same_decoder() {
        let recent = changed(QWEN2, &json!({})).unwrap();
        let mut older = map(QWEN2);
        older.remove("rope_parameters");
        older.remove("dtype");
        older.extend(map(
            r#"{"rope_theta": 1e6, "rope_scaling": null, "torch_dtype": "bfloat16"}"#,
        ));
        assert_eq!(ModelConfig::from_map(older).unwrap(), recent);
        assert_eq!(recent.rope.theta, 1e6);
        assert_eq!(recent.dtype, WeightDtype::Bf16);
    }

    #[test]
    fn llama3_scaling_is_read_from_the_older_spelling() {
        let config = changed(LLAMA, &json!({})).unwrap();
        let expected = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 64,
        };
        assert_eq!((config.rope.theta, config.rope.scaling), (5000.0, expected));
        assert_eq!((config.head_dim, config.dtype), (8, WeightDtype::F16));
        assert_eq!(config.bos_token_id, Some(1));
        assert_eq!(config.eos_token_ids, [558, 559]);
    }

    #[test]
    fn the_oldest_spelling_of_linear_scaling_is_read() {
        let scaling = json!({"rope_scaling": {"type": "linear", "factor": 2}});
        let config = changed(LLAMA, &scaling).unwrap();
        assert_eq!(config.rope.scaling, RopeScaling::Linear { factor: 2.0 });
    }

    #[test]
    fn keys_left_out_mean_what_transformers_takes_them_to_mean() {
        let read = |model_type: &str| {
            let text = json!({"model_type": model_type, "sliding_window": null}).to_string();
            ModelConfig::from_json(&text, Path::new("config.json")).unwrap()
        };
        let qwen3 = read("qwen3");
        assert_eq!((qwen3.head_dim, qwen3.num_key_value_heads), (128, 32));
        assert_eq!((qwen3.vocab_size, qwen3.rope.theta), (151_936, 10_000.0));
        assert!(qwen3.eos_token_ids.is_empty());
        let mistral = read("mistral");
        assert_eq!(
            (mistral.num_key_value_heads, mistral.intermediate_size),
            (8, 14_336)
        );
        assert_eq!(mistral.max_position_embeddings, 131_072);
        let llama = read("llama");
        assert_eq!(
            (llama.num_key_value_heads, llama.max_position_embeddings),
            (32, 2048)
        );
        assert_eq!(
            (llama.bos_token_id, llama.eos_token_ids),
            (Some(1), vec![2])
        );
    }

    #[test]
    fn a_config_written_and_read_again_is_the_same() {
        for (base, changes) in [
            (
                QWEN2,
                json!({"use_sliding_window": false, "sliding_window": 32}),
            ),
            (QWEN2, json!({"head_dim": 24, "tie_word_embeddings": false})),
            (
                QWEN2,
                json!({"model_type": "qwen3", "architectures": null, "attention_bias": true}),
            ),
            (LLAMA, json!({"attention_bias": true, "mlp_bias": true})),
            (
                LLAMA,
                json!({"rope_scaling": {"type": "linear", "factor": 2.5}}),
            ),
            (
                LLAMA,
                json!({"model_type": "mistral", "sliding_window": null}),
            ),
        ] {
            let config = changed(base, &changes).unwrap();
            let again = ModelConfig::from_json(&config.to_json(), Path::new("config.json"));
            assert_eq!(again.unwrap(), config, "{changes}");
        }
    }

    #[test]
    fn a_model_made_from_scratch_is_written_whole() {
        for family in [Family::Qwen2, Family::Qwen3, Family::Llama, Family::Mistral] {
            let config = ModelConfig {
                vocab_size: 64,
                hidden_size: 32,
                head_dim: 8,
                num_attention_heads: 4,
                num_key_value_heads: 2,
                ..ModelConfig::of_family(family)
            };
            config.validate().unwrap();
            let again = ModelConfig::from_json(&config.to_json(), Path::new("config.json"));
            assert_eq!(again.unwrap(), config);
        }
    }

    #[test]
    fn writing_keeps_unknown_keys_and_drops_the_older_spelling() {
        let changes = json!({"initializer_range": 0.02, "attention_dropout": 0.1});
        let mut config = changed(LLAMA, &changes).unwrap();
        config.dtype = WeightDtype::F32;
        let written = map(&config.to_json());
        assert_eq!(written["initializer_range"], json!(0.02));
        assert_eq!(written["attention_dropout"], json!(0.1));
        assert_eq!(written["dtype"], json!("float32"));
        assert_eq!(written["rope_parameters"]["rope_theta"], json!(5000.0));
        for key in ["torch_dtype", "rope_theta", "rope_scaling"] {
            assert!(!written.contains_key(key), "{key}");
        }
    }

    #[test]
    fn qwen2_is_written_without_head_dim_unless_it_needs_one() {
        let config = changed(QWEN2, &json!({})).unwrap();
        assert!(!map(&config.to_json()).contains_key("head_dim"));
        let config = changed(QWEN2, &json!({"head_dim": 24})).unwrap();
        assert_eq!(map(&config.to_json())["head_dim"], json!(24));
    }

    #[test]
    fn what_the_decoder_lacks_is_refused_by_key_and_value() {
        for (changes, expected) in [
            (
                json!({"model_type": "gpt2"}),
                "`model_type`: is `gpt2`, supported are qwen2, ",
            ),
            (json!({"model_type": null}), "`model_type`: is missing"),
            (
                json!({"architectures": ["Qwen2ForTokenClassification"]}),
                "`architectures`: is `Qwen2For",
            ),
            (
                json!({"architectures": ["Qwen2ForSequenceClassification"]}),
                "`num_labels`: is missing, which means two labels",
            ),
            (
                json!({"architectures": ["Qwen2ForSequenceClassification"],
                    "id2label": {"0": "no", "1": "yes"}}),
                "`id2label`: is {\"0\":\"no\",\"1\":\"yes\"}, expected one label",
            ),
            (
                json!({"hidden_act": "gelu"}),
                "`hidden_act`: is \"gelu\", expected silu",
            ),
            (
                json!({"quantization_config": {"bits": 4}}),
                "`quantization_config`: is {\"bits\":4}",
            ),
            (json!({"is_causal": false}), "`is_causal`: is false"),
            (
                json!({"partial_rotary_factor": 0.5}),
                "`partial_rotary_factor`: is 0.5",
            ),
            (
                json!({"dtype": "float8_e4m3fn"}),
                "`dtype`: is \"float8_e4m3fn\", expected one of float32",
            ),
            (
                json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
                "`rope_scaling.rope_type`: is \"yarn\", expected one of default, linear, llama3",
            ),
            (
                json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
                "`rope_parameters.full_attention`: is {",
            ),
        ] {
            let message = refusal(QWEN2, &changes);
            assert!(
                message.contains(&format!("config.json: {expected}")),
                "{message}"
            );
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        for (changes, expected) in [
            (
                json!({"num_key_value_heads": 3}),
                "`num_key_value_heads`: is 3, expected a divisor of",
            ),
            (
                json!({"num_attention_heads": 0}),
                "expected a multiple of num_attention_heads (0)",
            ),
            (
                json!({"num_attention_heads": 6}),
                "`hidden_size`: is 64, expected a multiple",
            ),
            (
                json!({"num_key_value_heads": 0}),
                "`num_key_value_heads`: is 0",
            ),
            (
                json!({"vocab_size": 0}),
                "`vocab_size`: is 0, expected a number from 1",
            ),
            (
                json!({"hidden_size": 1_u64 << 40, "head_dim": 16}),
                "`hidden_size`: is 1099511627776",
            ),
            (
                json!({"num_hidden_layers": -1}),
                "`num_hidden_layers`: is -1, expected a whole number",
            ),
            (
                json!({"intermediate_size": 1.5}),
                "`intermediate_size`: is 1.5",
            ),
            (json!({"vocab_size": null}), "`vocab_size`: is null"),
            (
                json!({"head_dim": 15}),
                "`head_dim`: is 15, expected an even number",
            ),
            (json!({"rms_norm_eps": -1.0}), "`rms_norm_eps`: is -1"),
            (
                json!({"eos_token_id": 600}),
                "`eos_token_id`: is 600, expected less than vocab_size",
            ),
            (
                json!({"eos_token_id": "</s>"}),
                "`eos_token_id`: is \"</s>\"",
            ),
            (
                json!({"rope_parameters": {"rope_theta": 0.0}}),
                "rope_theta`: is 0",
            ),
            (
                json!({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}),
                "low_freq_factor`: is missing",
            ),
            (
                json!({"rope_parameters": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
                "high_freq_factor": 4.0}}),
                "high_freq_factor`: is 4, expected more than",
            ),
            (
                json!({"tie_word_embeddings": "yes"}),
                "`tie_word_embeddings`: is \"yes\", expected true or false",
            ),
        ] {
            let message = refusal(QWEN2, &changes);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_score_is_read_and_written_as_one_label() {
        let architecture = json!(["Qwen2ForSequenceClassification"]);
        for labels in [json!({"id2label": {"0": "good"}}), json!({"num_labels": 1})] {
            let mut changes = labels.as_object().unwrap().clone();
            changes.insert("architectures".into(), architecture.clone());
            let config = changed(QWEN2, &Value::Object(changes)).unwrap();
            assert_eq!(config.head, Head::Score);
            let written = map(&config.to_json());
            assert_eq!(written["architectures"], architecture);
            assert_eq!(written["id2label"], json!({"0": "LABEL_0"}));
            assert_eq!(written["label2id"], json!({"LABEL_0": 0}));
            let again = ModelConfig::from_json(&config.to_json(), Path::new("c")).unwrap();
            assert_eq!(again, config);
        }
    }

    #[test]
    fn a_long_value_is_cut_short_in_the_message() {
        let message = refusal(QWEN2, &json!({"hidden_size": "ä".repeat(10_000)}));
        assert!(message.len() < 300, "{message}");
    }

    #[test]
    fn an_attention_window_shorter_than_the_context_is_refused() {
        let windowed =
            json!({"use_sliding_window": true, "sliding_window": 128, "max_window_layers": 1});
        assert!(refusal(QWEN2, &windowed).contains("`sliding_window`: is 128, but only full"));
        let by_layer = json!({"use_sliding_window": true, "sliding_window": 128,
            "layer_types": ["full_attention", "sliding_attention"]});
        assert!(refusal(QWEN2, &by_layer).contains("`sliding_window`: is 128"));
        let odd = json!({"layer_types": ["full_attention", "linear_attention"]});
        assert!(refusal(QWEN2, &odd).contains("`layer_types`: is [\"full_attention\""));
        let mistral = json!({"model_type": "mistral", "sliding_window": 128});
        assert!(refusal(LLAMA, &mistral).contains("`sliding_window`: is 128"));
    }

    #[test]
    fn an_attention_window_no_sequence_exceeds_is_accepted() {
        for (base, changes) in [
            (
                QWEN2,
                json!({"use_sliding_window": true, "sliding_window": 512, "max_window_layers": 0}),
            ),
            (
                QWEN2,
                json!({"use_sliding_window": true, "sliding_window": 8, "max_window_layers": 2}),
            ),
            (
                QWEN2,
                json!({"use_sliding_window": false, "sliding_window": 8, "max_window_layers": 0}),
            ),
            (
                QWEN2,
                json!({"use_sliding_window": true, "sliding_window": 8,
                "layer_types": ["full_attention", "full_attention"]}),
            ),
            (
                LLAMA,
                json!({"model_type": "mistral", "sliding_window": null}),
            ),
            (
                LLAMA,
                json!({"model_type": "mistral", "sliding_window": 512}),
            ),
        ] {
            changed(base, &changes).unwrap();
        }
    }

    #[test]
    fn a_negative_token_id_means_none() {
        let config = changed(LLAMA, &json!({"pad_token_id": -1})).unwrap();
        assert_eq!(config.pad_token_id, None);
    }

    #[test]
    fn a_file_that_is_no_json_object_is_named() {
        for text in ["", "[1]", "{\"vocab_size\": 1", "\u{0}"] {
            let error = ModelConfig::from_json(text, Path::new("a/config.json")).unwrap_err();
            let message = error.to_string();
            assert!(
                message.starts_with("a/config.json: expected a JSON object"),
                "{message}"
            );
        }
    }
}
