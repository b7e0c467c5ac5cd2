//! What recipes that take seconds have in common.

/// A model of two layers from nothing, which learns to write Countdown.
const BASE: &str = r#"[[stage]]
kind = "pretrain"
batch = 8
model = { hidden_size = 32, intermediate_size = 64, layers = 2, heads = 4, kv_heads = 2, initializer_range = 0.08 }
tokenizer = { vocabulary_size = 300 }
task = { kind = "countdown", levels = [1] }
"#;

/// `recipe` with a first stage that makes its model; `settings` are the stage's others.
pub fn with_base(recipe: &str, settings: &str) -> String {
    let stages = recipe.find("[[stage]]").expect("a stage");
    let (head, stages) = recipe.split_at(stages);
    format!("{head}{BASE}{settings}\n\n{stages}")
}
