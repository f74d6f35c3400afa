//! The status page: `page.html`, filled with the document of `/status.json`.
//! It must not know what a field means: the page's attributes name fields and formats, here and for its
//! script, which fills in later documents by the same rules.
//! It promises a complete page without the script, escaped texts, and a policy that lets nothing else load.

mod chart;
mod format;

use std::fmt::Write;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use self::format::formatted;

/// The page. Elements in `<main>` have these attributes, with paths such as `totals.requests`, or `.name` of
/// the list item that they are in:
///
/// * `data-t="PATH|FORMAT"`: the element's text;
/// * `data-s="PATH"`: a state for the style sheet, which the element has as `data-is`;
/// * `data-if="PATH"`: the element is hidden without this value, or with it after a `!`;
/// * `data-v="PATH"`, `data-max="PATH"`: the attributes `value` and `max`;
/// * `data-list="PATH"`: the element holds a `<template>`, and a copy of its content for each item;
/// * `data-chart="RING|SERIES ..."`: the paths of an SVG of 300 by 64;
/// * `data-peak="RING|SERIES ...|FORMAT"`: the greatest number of these series.
const PAGE: &str = include_str!("page/page.html");

/// The policy of the page: its own style and script, by their digests, and requests to this address.
/// <https://www.w3.org/TR/CSP3/>
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |open, close| {
        let content = between(PAGE, open, close);
        format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, content.as_bytes())))
    };
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("<style>", "</style>"),
        hash("<script>", "</script>"),
    )
});

/// The text between two marks; empty without them.
fn between<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
    let content = text.split_once(open).and_then(|(_, rest)| rest.split_once(close));
    content.map_or("", |(content, _)| content)
}

/// The page with the fields of `document`.
pub(super) fn render(document: &Value) -> String {
    let mut out = String::with_capacity(4 * PAGE.len());
    let (before, rest) = PAGE.split_once("<main").unwrap_or((PAGE, ""));
    let (main, after) = rest.split_once("</main>").unwrap_or((rest, ""));
    out.push_str(before);
    out.push_str("<main");
    Filling { document, out: &mut out }.fill(main, document);
    out.push_str("</main>");
    out.push_str(after);
    out
}

struct Filling<'a> {
    document: &'a Value,
    out: &'a mut String,
}

impl Filling<'_> {
    /// Appends a part of the page, whose relative paths begin at `item`.
    fn fill(&mut self, part: &str, item: &Value) {
        let mut rest = part;
        while let Some((text, tag_on)) = rest.split_once('<') {
            let (tag, after) = tag_on.split_once('>').unwrap_or((tag_on, ""));
            self.out.push_str(text);
            rest = after;
            if !tag.contains(" data-") {
                write!(self.out, "<{tag}>").expect("a string takes every text");
                continue;
            }
            self.open(tag, item);
            if let Some(list) = attribute(tag, "data-list") {
                let items = found(self.document, item, list);
                rest = self.list(rest, items);
            }
        }
        self.out.push_str(rest);
    }

    /// Appends a tag with the attributes that follow from the document, and the element's content.
    fn open(&mut self, tag: &str, item: &Value) {
        let out = &mut *self.out;
        let value = |path| found(self.document, item, path);
        write!(out, "<{tag}").expect("a string takes every text");
        if let Some(path) = attribute(tag, "data-s") {
            out.push_str(" data-is=\"");
            push_escaped(out, &formatted(value(path), "text", self.document));
            out.push('"');
        }
        for (name, target) in [("data-v", "value"), ("data-max", "max")] {
            if let Some(path) = attribute(tag, name) {
                let number = value(path).as_f64().unwrap_or_default();
                write!(out, " {target}=\"{number}\"").expect("a string takes every text");
            }
        }
        if let Some(condition) = attribute(tag, "data-if") {
            let (path, is_wanted) =
                condition.strip_prefix('!').map_or((condition, true), |path| (path, false));
            if is_present(value(path)) != is_wanted {
                out.push_str(" hidden");
            }
        }
        out.push('>');
        if let Some((path, format)) =
            attribute(tag, "data-t").map(|text| text.split_once('|').unwrap_or((text, "text")))
        {
            push_escaped(out, &formatted(value(path), format, self.document));
        }
        if let Some(names) = attribute(tag, "data-chart") {
            out.push_str(&chart::paths(self.document, names));
        }
        if let Some((names, format)) = attribute(tag, "data-peak").and_then(|text| text.rsplit_once('|')) {
            let peak = Value::from(chart::peak(self.document, names));
            push_escaped(out, &formatted(&peak, format, self.document));
        }
    }

    /// Appends a template, and its content for each item of the list. Returns what follows the template.
    fn list<'p>(&mut self, part: &'p str, list: &Value) -> &'p str {
        let end = "</template>";
        let Some((template, after)) = part.split_once(end) else { return part };
        let Some((_, content)) = template.split_once("<template>") else { return part };
        self.out.push_str(template);
        self.out.push_str(end);
        for item in list.as_array().into_iter().flatten() {
            self.fill(content, item);
        }
        after
    }
}

/// The value of an attribute of a tag.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let begin = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    tag[begin..].split('"').next()
}

/// The value at a path: from the document, or with a leading point from the item.
fn found<'a>(document: &'a Value, item: &'a Value, path: &str) -> &'a Value {
    let (from, path) = path.strip_prefix('.').map_or((document, path), |path| (item, path));
    path.split('.').filter(|step| !step.is_empty()).fold(from, |value, step| match step.parse::<usize>() {
        Ok(place) => &value[place],
        Err(_) => &value[step],
    })
}

/// Whether a value is neither null, false, zero nor empty.
fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(_) => true,
    }
}

fn push_escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests;
