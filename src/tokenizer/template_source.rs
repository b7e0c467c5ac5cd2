//! Chat template sources, with what minijinja reads otherwise than jinja2 rewritten.

/// The filter that the text of `{% generation %}` blocks goes through.
pub(super) const GENERATION: &str = "__generation__";

/// `source` with `{% generation %}` blocks, which mark what the model wrote, as scopes whose text
/// goes through the filter [`GENERATION`], and with texts that go on after a backslash at the end of
/// a line joined, as Python joins them.
///
/// A `break` or `continue` that leaves such a block, which jinja2 refuses, or a `with` block, which
/// minijinja does not survive, raises an exception instead.
pub(super) fn for_minijinja(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    let mut scopes = Vec::new();
    while let Some(start) = ["{{", "{%", "{#"]
        .iter()
        .filter_map(|open| rest.find(open))
        .min()
    {
        text.push_str(&rest[..start]);
        let (block, after) = rest[start..].split_at(block_end(&rest[start..]));
        rest = after;
        let tag = tag_name(block);
        match tag {
            "for" | "with" | "generation" => scopes.push(tag),
            "endfor" | "endwith" | "endgeneration" => drop(scopes.pop()),
            _ => {}
        }
        match tag {
            "generation" => {
                let opening = format!("filter {GENERATION} %}}{{% with");
                text.push_str(&block.replacen("generation", &opening, 1));
            }
            "endgeneration" => {
                text.push_str(&block.replacen("endgeneration", "endwith %}{% endfilter", 1));
            }
            word @ ("break" | "continue") if scopes.last().is_some_and(|scope| *scope != "for") => {
                let problem = format!("do raise_exception('`{word}` out of a block in a loop')");
                text.push_str(&block.replacen(word, &problem, 1));
            }
            "raw" => {
                let (verbatim, after) = rest.split_at(rest.find("endraw").unwrap_or(rest.len()));
                text.push_str(block);
                text.push_str(verbatim);
                rest = after;
            }
            _ => text.push_str(&block.replace("\\\n", "")),
        }
    }
    text + rest
}

/// Where the block that `source` starts with ends, in bytes; a closing sign in a text is none.
fn block_end(source: &str) -> usize {
    let close = match &source[..2] {
        "{#" => return source.find("#}").map_or(source.len(), |at| at + 2),
        "{{" => "}}",
        _ => "%}",
    };
    let mut quote = None;
    let mut is_escaped = false;
    for (at, character) in source.char_indices() {
        match quote {
            None if source[at..].starts_with(close) => return at + 2,
            None if matches!(character, '"' | '\'') => quote = Some(character),
            Some(open) if character == open && !is_escaped => quote = None,
            _ => {}
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    source.len()
}

/// The name of the tag `block` is, if it is one.
fn tag_name(block: &str) -> &str {
    let Some(inside) = block.strip_prefix("{%") else {
        return "";
    };
    let inside = inside.trim_start_matches(['-', '+']).trim_start();
    let end = inside.find(|c: char| !c.is_alphanumeric());
    &inside[..end.unwrap_or(inside.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_scopes_in_a_filter_and_keep_their_trimming() {
        assert_eq!(
            for_minijinja("{%- generation -%}a{%endgeneration%}"),
            "{%- filter __generation__ %}{% with -%}a{%endwith %}{% endfilter%}"
        );
    }

    #[test]
    fn texts_comments_and_raw_blocks_stay_as_they_are() {
        for source in [
            "{{ '{% generation %}' }}",
            "{# {% generation %} #}",
            "{% raw %}{% generation %}{% endraw %}",
            "{{ \"it's \\\" {% generation %}\" }}",
            "generation {% set generation = 1 %} { % é",
            "{{ unfinished '",
        ] {
            assert_eq!(for_minijinja(source), source);
        }
    }

    #[test]
    fn leaving_a_loop_out_of_another_block_raises_an_exception() {
        for (block, end) in [("with", "endwith"), ("generation", "endgeneration")] {
            let source = |inside: &str| {
                format!("{{% for a in b %}}{{% {block} %}}{inside}{{% {end} %}}{{% break %}}")
            };
            let raised = for_minijinja(&source("{%- continue %}"));
            assert!(raised.contains("{%- do raise_exception("), "{raised}");
            assert!(raised.ends_with("{% break %}"), "{raised}");
            let kept = for_minijinja(&source("{% for c in d %}{% break %}{% endfor %}"));
            assert!(!kept.contains("raise_exception"), "{kept}");
        }
    }

    #[test]
    fn a_backslash_joins_lines_in_code_only() {
        assert_eq!(for_minijinja("a\\\nb{{ 'c\\\nd' }}"), "a\\\nb{{ 'cd' }}");
    }
}
