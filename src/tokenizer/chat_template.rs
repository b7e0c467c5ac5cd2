//! Chat templates: from a conversation to the text a model was trained on.

use minijinja::{Environment, Value as TemplateValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::jinja;
use super::message::Message;
use super::template_source;
use crate::error::{Error, Result};

/// What is rendered beside the messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChatOptions {
    /// Ends the text with the header of an assistant turn, for the model to go on from.
    pub add_generation_prompt: bool,
    /// Descriptions of the tools the model may call, a list of JSON schemas.
    pub tools: Option<Value>,
    /// Further variables for the template, such as `enable_thinking`.
    pub variables: Map<String, Value>,
}

/// The templates of one tokenizer.
#[derive(Clone, Debug)]
pub(super) struct ChatTemplate {
    /// The file, for messages.
    origin: String,
    /// The template for everything, if there is one.
    default: Option<String>,
    /// The template for conversations with tools, if it is another one.
    tool_use: Option<String>,
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// One template for everything.
    pub fn new(origin: String, source: &str) -> Self {
        Self {
            origin,
            default: Some(template_source::for_minijinja(source)),
            tool_use: None,
            environment: jinja::environment(),
        }
    }

    /// The templates of `tokenizer_config.json`: a text, or a list of named templates of which
    /// `default` and `tool_use` are used.
    pub fn from_config(origin: String, value: &Value) -> Option<Self> {
        if let Some(source) = value.as_str() {
            return Some(Self::new(origin, source));
        }
        let mut template = Self {
            origin,
            default: None,
            tool_use: None,
            environment: jinja::environment(),
        };
        for named in value.as_array()? {
            let source = template_source::for_minijinja(named.get("template")?.as_str()?);
            match named.get("name")?.as_str()? {
                "default" => template.default = Some(source),
                "tool_use" => template.tool_use = Some(source),
                _ => {}
            }
        }
        Some(template)
    }

    /// Renders `messages`.
    pub fn render(
        &self,
        special_tokens: &Map<String, Value>,
        messages: &[Message],
        options: &ChatOptions,
    ) -> Result<String> {
        let source = self.source(options)?;
        let context = context(special_tokens, messages, options)?;
        self.environment
            .template_from_named_str(&self.origin, source)
            .and_then(|template| template.render(TemplateValue::from_serialize(context)))
            .map_err(|error| problem(describe(&error)))
    }

    fn source(&self, options: &ChatOptions) -> Result<&str> {
        let for_tools = options.tools.as_ref().and(self.tool_use.as_deref());
        for_tools.or(self.default.as_deref()).ok_or_else(|| {
            problem(format!(
                "{}: none of the templates is named `default`",
                self.origin
            ))
        })
    }
}

/// The template's variables; those that every conversation has come last, so that no other
/// variable can hide them.
fn context(
    special_tokens: &Map<String, Value>,
    messages: &[Message],
    options: &ChatOptions,
) -> Result<Map<String, Value>> {
    if messages.is_empty() {
        return Err(problem("a conversation needs at least one message"));
    }
    let views: serde_json::Result<Vec<_>> = messages.iter().map(Message::template_view).collect();
    let views = views.map_err(|error| problem(error.to_string()))?;
    let mut context = special_tokens.clone();
    context.insert("documents".into(), Value::Null);
    context.extend(options.variables.clone());
    context.insert("messages".into(), views.into());
    context.insert("tools".into(), options.tools.clone().into());
    context.insert(
        "add_generation_prompt".into(),
        options.add_generation_prompt.into(),
    );
    Ok(context)
}

/// The engine's message in one line, causes included.
fn describe(error: &minijinja::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn problem(problem: impl Into<String>) -> Error {
    Error::ChatTemplate {
        problem: problem.into(),
    }
}
