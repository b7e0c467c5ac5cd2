//! Which parts of a mixture a preset's stages and rewards are for: reasoning, or `general`, as the user names it.

use toml::{Table, Value};

/// What a preset's rewards call the parts that are general.
const GENERAL: &str = "general";

/// What they call all others.
const REASONING: &str = "reasoning";

/// Takes the general parts out of the stage's mixture.
pub(super) fn leave_out(stage: &mut Table, general: &[String]) {
    if let Some(parts) = parts_of(stage) {
        parts.retain(|part| !part_name(part).is_some_and(|name| general.contains(&name)));
    }
}

/// Turns the words `general` and `reasoning` of the rewards' `parts` into names of parts. Without `general`
/// all rewards are for all problems.
///
/// # Errors
/// The problem, when no part is left for one of them.
pub(super) fn aim_rewards(stage: &mut Table, general: &[String]) -> Result<(), String> {
    let parts = parts_of(stage).map_or_else(Vec::new, |parts| parts.clone());
    let names: Vec<String> = parts.iter().filter_map(part_name).collect();
    let rewards = stage.get_mut("rewards").and_then(Value::as_array_mut);
    for reward in rewards
        .into_iter()
        .flatten()
        .filter_map(Value::as_table_mut)
    {
        let Some(word) = reward.get("parts").and_then(Value::as_str) else {
            continue;
        };
        let is_general = match word {
            GENERAL => true,
            REASONING => false,
            _ => continue,
        };
        if general.is_empty() {
            reward.remove("parts");
            continue;
        }
        let aimed = names
            .iter()
            .filter(|name| general.contains(name) == is_general);
        let aimed: Vec<_> = aimed.cloned().map(Value::String).collect();
        if aimed.is_empty() {
            return Err(format!(
                "a reward is for {word} problems, of which its task has no part"
            ));
        }
        reward.insert("parts".to_owned(), Value::Array(aimed));
    }
    Ok(())
}

/// The parts of the stage's mixture.
fn parts_of(stage: &mut Table) -> Option<&mut Vec<Value>> {
    stage.get_mut("task")?.get_mut("parts")?.as_array_mut()
}

fn part_name(part: &Value) -> Option<String> {
    part.get("name")?.as_str().map(str::to_owned)
}
