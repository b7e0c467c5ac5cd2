//! Model folders of the oracle: both spellings of their config, names, shapes and bytes.

use std::fs;

use emberl::model::{Checkpoint, GenerationDefaults, ModelConfig, WeightsWriter};

#[test]
fn both_spellings_agree_and_the_weights_fit_and_copy_bit_by_bit() {
    let mut folders = 0;
    for entry in fs::read_dir(super::folder().join("models")).unwrap() {
        let dir = entry.unwrap().path();
        let config = ModelConfig::load(&dir).unwrap();
        let older = dir.join("config_legacy.json");
        let text = fs::read_to_string(&older).unwrap();
        assert_eq!(ModelConfig::from_json(&text, &older).unwrap(), config);
        let defaults = GenerationDefaults::load(&dir).unwrap();
        assert_eq!(defaults.eos_token_ids, config.eos_token_ids);

        let weights = Checkpoint::open(&dir).unwrap();
        weights.check(&config).unwrap();
        let shapes = config.parameter_shapes();
        let copy = tempfile::tempdir().unwrap();
        let mut writer =
            WeightsWriter::create_sharded(copy.path(), &shapes, config.dtype, 40_000).unwrap();
        for (name, shape) in &shapes {
            writer
                .write(&weights.tensor(name, shape).unwrap().to_f32())
                .unwrap();
        }
        writer.finish().unwrap();
        let copy = Checkpoint::open(copy.path()).unwrap();
        for (name, shape) in &shapes {
            assert_eq!(
                copy.tensor(name, shape).unwrap(),
                weights.tensor(name, shape).unwrap()
            );
        }
        folders += 1;
    }
    assert!(folders > 0, "the oracle holds no model folder");
}
