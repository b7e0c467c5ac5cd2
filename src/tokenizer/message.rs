//! Messages of a conversation, in the form chat data and chat templates share.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The human.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
    /// A role that only some templates know, such as `developer`.
    #[serde(untagged)]
    Other(String),
}

/// One message: `{"role": "user", "content": "…"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; none, absent and `null` are the same, as for a turn that only calls tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// All other fields, such as `tool_calls`, `name` or `reasoning_content`; templates see them.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A message without further fields.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: Some(content.into()),
            extra: Map::new(),
        }
    }

    /// What the user says.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// What the system prompt says.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::System, content)
    }

    /// What the model says.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }

    /// The message as a chat template sees it. As in transformers, fields that are `null` are left
    /// out, and reasoning is found under `reasoning_content` and `thinking` whatever its name was.
    pub(super) fn template_view(&self) -> serde_json::Result<Value> {
        let mut view = serde_json::to_value(self)?;
        let Value::Object(fields) = &mut view else {
            return Ok(view);
        };
        fields.retain(|_, value| !value.is_null());
        let reasoning = ["reasoning_content", "thinking", "reasoning"]
            .iter()
            .find_map(|name| fields.get(*name).cloned());
        if let Some(reasoning) = reasoning {
            fields.entry("thinking").or_insert(reasoning.clone());
            fields.insert("reasoning_content".into(), reasoning);
        }
        Ok(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Message {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn further_fields_and_unknown_roles_survive_a_round_trip() {
        let line = json!({"role": "developer", "content": "x", "name": "n", "tool_calls": [1]});
        let message = read(line.clone());
        assert_eq!(message.role, Role::Other("developer".into()));
        assert_eq!(serde_json::to_value(&message).unwrap(), line);
    }

    #[test]
    fn content_may_be_null_or_absent_but_not_a_number() {
        assert_eq!(
            read(json!({"role": "assistant", "content": null})),
            read(json!({"role": "assistant"}))
        );
        assert!(serde_json::from_value::<Message>(json!({"role": "user", "content": 3})).is_err());
    }

    #[test]
    fn templates_see_reasoning_under_both_names_and_no_nulls() {
        let message = read(json!({"role": "assistant", "content": null, "reasoning": "r"}));
        assert_eq!(
            message.template_view().unwrap(),
            json!({"role": "assistant", "reasoning": "r", "thinking": "r", "reasoning_content": "r"})
        );
    }
}
