//! Chat templates: from a conversation to the text a model was trained on.

use std::ops::Range;

use minijinja::{Environment, Value as TemplateValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::generation_marks::{spans, unused_marks};
use super::jinja;
use super::message::Message;
use super::template_source::{self, GENERATION};
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
        let context = context(special_tokens, messages, options)?;
        self.run(&self.environment, self.source(options)?, &context)
    }

    /// Renders `messages`; also gives which characters of the text, counted from 0, the template's
    /// `{% generation %}` blocks wrote.
    ///
    /// The text is rendered once as it is and once with marks around the blocks' texts: characters
    /// that the first rendering does not have, so that no message can hold them.
    pub fn render_marked(
        &self,
        special_tokens: &Map<String, Value>,
        messages: &[Message],
        options: &ChatOptions,
    ) -> Result<(String, Vec<Range<usize>>)> {
        let source = self.source(options)?;
        if !source.contains(GENERATION) {
            let origin = &self.origin;
            return Err(problem(format!(
                "{origin}: has no `{{% generation %}}` block, which marks what the assistant \
                 writes; put one around it"
            )));
        }
        let context = context(special_tokens, messages, options)?;
        // A template may write the time, which may pass between the two renderings.
        for _attempt in 0..2 {
            let text = self.run(&self.environment, source, &context)?;
            let marks =
                unused_marks(&text).ok_or_else(|| problem("has no character left to mark"))?;
            let marking = jinja::marking_environment(&self.environment, marks);
            let marked = self.run(&marking, source, &context)?;
            if let Some((unmarked, spans)) = spans(&marked, marks)
                && unmarked == text
            {
                return Ok((text, spans));
            }
        }
        Err(problem(format!(
            "{}: what its `{{% generation %}}` blocks write is nested or changed afterwards, \
             expected it in the text as it is",
            self.origin
        )))
    }

    fn run(
        &self,
        environment: &Environment<'static>,
        source: &str,
        context: &Map<String, Value>,
    ) -> Result<String> {
        environment
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render_with(source: &str, options: &ChatOptions) -> Result<String> {
        let template = ChatTemplate::new("t.jinja".into(), source);
        let tokens = Map::from_iter([("eos_token".to_owned(), json!("</s>"))]);
        let messages = [Message::user("a"), Message::assistant("b")];
        template.render(&tokens, &messages, options)
    }

    fn render(source: &str) -> Result<String> {
        render_with(source, &ChatOptions::default())
    }

    #[track_caller]
    fn assert_renders(source: &str, expected: &str) {
        assert_eq!(render(source).unwrap(), expected);
    }

    #[test]
    fn slices_loop_controls_and_methods_work_as_in_python() {
        assert_renders(
            "{{ messages[1:][0].role }}{{ messages[-1].content }}",
            "assistantb",
        );
        assert_renders(
            "{% for m in messages[::-1] %}{{ m.role }},{% endfor %}",
            "assistant,user,",
        );
        assert_renders(
            "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}\
             {% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "02",
        );
        assert_renders(
            "{{ 'x</think>\\ny'.split('</think>')[-1].lstrip('\\n') }}",
            "y",
        );
        assert_renders("{{ 'a-b-c'.rsplit('-', maxsplit=1) }}", "['a-b', 'c']");
        assert_renders("{{ 'abc'.removeprefix('a').removesuffix('c') }}", "b");
    }

    #[test]
    fn blocks_are_trimmed_and_one_last_line_end_dropped() {
        assert_renders("{% if true %}\n  a\n  {% endif %}\nb\n\n", "  a\nb\n");
    }

    #[test]
    fn tags_around_what_the_model_wrote_leave_its_text() {
        assert_renders(
            "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
            "ab",
        );
    }

    #[test]
    fn blocks_around_what_the_model_wrote_have_a_scope_and_see_the_loop() {
        assert_renders(
            "{% for m in messages %}{% generation %}{{ loop.index }}{{ m.content }}\
             {% set m = 1 %}{% endgeneration %}{{ m.content }},{% endfor %}",
            "1aa,2bb,",
        );
        assert_renders(
            "{% macro f(x) %}<{{ x }}>{% endmacro %}{% set y = 3 %}{% generation %}\n\
             {{- f(y) }}{{ f(messages[0].content) }}{% endgeneration %}",
            "<3><a>",
        );
        assert_renders(
            "{% set n = namespace(x=1) %}{% for m in messages %}{% generation %}\
             {% set n.x = n.x + 1 %}{% endgeneration %}{% endfor %}{{ n.x }}",
            "3",
        );
        for (word, block) in [("break", "generation"), ("continue", "with")] {
            let source = format!(
                "{{% for m in messages %}}{{% {block} %}}{{% {word} %}}{{% end{block} %}}\
                 {{% endfor %}}"
            );
            let refusal = render(&source).unwrap_err().to_string();
            assert!(refusal.contains("out of a block in a loop"), "{refusal}");
        }
    }

    fn marked(source: &str, content: &str) -> Result<(String, Vec<Range<usize>>)> {
        let template = ChatTemplate::new("t.jinja".into(), source);
        let messages = [Message::user(content), Message::assistant(content)];
        template.render_marked(&Map::new(), &messages, &ChatOptions::default())
    }

    #[test]
    fn marked_text_is_the_text_and_spans_count_characters() {
        let source = "{% for m in messages %}é{{ m.role }}\n  {% generation %}\n\
                      {{- m.content }}{% endgeneration %}\n{% endfor %}";
        let (text, spans) = marked(source, "你🙂").unwrap();
        assert_eq!(text, "éuser\n你🙂éassistant\n你🙂");
        assert_eq!(spans, [6..8, 19..21]);
    }

    #[test]
    fn a_message_cannot_fake_marks() {
        let source = "{% for m in messages %}{{ m.content }}{% endfor %}|\
                      {% generation %}x{% endgeneration %}";
        let (text, _) = marked(source, "").unwrap();
        assert_eq!(text, "|x");
        for content in [
            "\u{e000}y\u{e001}",
            "\u{e001}\u{e000}",
            "\u{e000}\u{e002}\u{e003}",
        ] {
            let (text, spans) = marked(source, content).unwrap();
            assert_eq!(text, format!("{content}{content}|x"));
            let start = 2 * content.chars().count() + 1;
            assert_eq!(spans, vec![start..start + 1]);
        }
    }

    #[test]
    fn a_template_that_marks_nothing_or_changes_what_it_marked_is_refused() {
        let problem = |source: &str| marked(source, " a ").unwrap_err().to_string();
        let none = problem("{{ messages[0].content }}");
        assert!(
            none.contains("t.jinja: has no `{% generation %}` block"),
            "{none}"
        );
        for source in [
            "{% set t %}{% generation %} a {% endgeneration %}{% endset %}{{ t | trim }}",
            "{% set t %}{% generation %}a{% endgeneration %}{% endset %}{{ t | length }}",
            "{% set t %}{% generation %}a{% endgeneration %}{% endset %}{{ t[:-1] }}",
            "{% generation %}a{% generation %}b{% endgeneration %}{% endgeneration %}",
        ] {
            let changed = problem(source);
            assert!(
                changed.contains("nested or changed afterwards"),
                "{changed}"
            );
        }
    }

    #[test]
    fn undefined_variables_are_empty_but_have_no_fields() {
        assert_renders(
            "{{ x }}{{ x is defined }}{{ x | length }}{{ eos_token }}",
            "False0</s>",
        );
        assert!(render("{{ x.y }}").is_err());
    }

    #[test]
    fn values_print_as_python_prints_them() {
        assert_renders(
            "{{ none }} {{ true }} {{ 1.0 }} {{ 1e-5 }}",
            "None True 1.0 1e-05",
        );
        assert_renders(
            "{{ ['a', none, \"it's\", {'k': 2}] }}",
            "['a', None, \"it's\", {'k': 2}]",
        );
        assert_renders("{{ none is iterable }} {{ 'a' is sequence }}", "False True");
    }

    #[test]
    fn json_is_that_of_python() {
        let value = json!({"z": [1, 1e-5, true, null], "a": {"é<&>\n": {}}});
        let options = ChatOptions {
            variables: Map::from_iter([("v".to_owned(), value)]),
            ..ChatOptions::default()
        };
        for (source, expected) in [
            (
                "{{ v | tojson }}",
                r#"{"z": [1, 1e-05, true, null], "a": {"é<&>\n": {}}}"#,
            ),
            (
                "{{ v | tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':')) }}",
                r#"{"a":{"\u00e9<&>\n":{}},"z":[1,1e-05,true,null]}"#,
            ),
            ("{{ v.a | tojson(indent=2) }}", "{\n  \"é<&>\\n\": {}\n}"),
        ] {
            assert_eq!(render_with(source, &options).unwrap(), expected);
        }
        assert!(render("{{ x | tojson }}").is_err());
    }

    #[test]
    fn dates_are_formatted() {
        let year = time::OffsetDateTime::now_utc().year();
        let text = render("{{ strftime_now('%Y') }}").unwrap();
        assert!((text.parse::<i32>().unwrap() - year).abs() <= 1);
    }

    #[test]
    fn a_refusal_says_what_the_template_says() {
        let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("chat template: "));
        assert!(text.contains("roles must alternate"), "{text}");
        assert!(text.contains("t.jinja"), "{text}");
    }

    #[test]
    fn a_broken_template_names_its_file() {
        let error = render("{% if %}").unwrap_err().to_string();
        assert!(error.contains("t.jinja"), "{error}");
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let source =
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
        assert!(render(source).is_err());
    }

    #[test]
    fn a_conversation_needs_a_message() {
        let template = ChatTemplate::new(String::new(), "x");
        assert!(
            template
                .render(&Map::new(), &[], &ChatOptions::default())
                .is_err()
        );
    }

    #[test]
    fn named_templates_are_chosen_by_tools() {
        let named = json!([
            {"name": "default", "template": "d"},
            {"name": "tool_use", "template": "t"},
            {"name": "rag", "template": "r"},
        ]);
        let template = ChatTemplate::from_config(String::new(), &named).unwrap();
        let mut options = ChatOptions::default();
        let messages = [Message::user("a")];
        assert_eq!(
            template.render(&Map::new(), &messages, &options).unwrap(),
            "d"
        );
        options.tools = Some(json!([]));
        assert_eq!(
            template.render(&Map::new(), &messages, &options).unwrap(),
            "t"
        );
    }
}
