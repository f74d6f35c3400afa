use serde_json::json;

use super::*;

fn filled(part: &str, document: &Value) -> String {
    let mut out = String::new();
    Filling { document, out: &mut out }.fill(part, document);
    out
}

#[test]
fn elements_are_filled_and_texts_are_escaped() {
    let document = json!({
        "name": "<script>alert('\"&')</script>",
        "none": null,
        "used": 3,
        "rows": [{ "id": "a", "tags": ["x", "y"] }, { "id": "b<", "tags": [] }],
    });
    for (part, expected) in [
        (
            r#"<b data-t="name">"#,
            "<b data-t=\"name\">&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;",
        ),
        (
            r#"x <i data-s="name"></i> y"#,
            "x <i data-s=\"name\" data-is=\"&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;\"></i> y",
        ),
        (r#"<p data-if="none">a</p>"#, "<p data-if=\"none\" hidden>a</p>"),
        (r#"<p data-if="!none">a</p><p data-if="rows">"#, "<p data-if=\"!none\">a</p><p data-if=\"rows\">"),
        (
            r#"<progress data-v="used" data-max="none">"#,
            "<progress data-v=\"used\" data-max=\"none\" value=\"3\" max=\"0\">",
        ),
        (
            "<ul data-list=\"rows\"><template><li data-t=\".id\"></li><li data-t=\".tags\"></li></template></ul>z",
            "<ul data-list=\"rows\"><template><li data-t=\".id\"></li><li data-t=\".tags\"></li></template>\
             <li data-t=\".id\">a</li><li data-t=\".tags\">x, y</li>\
             <li data-t=\".id\">b&lt;</li><li data-t=\".tags\">–</li></ul>z",
        ),
    ] {
        assert_eq!(filled(part, &document), expected, "This is a security issue, if a text is not escaped.");
    }
}

#[test]
fn the_page_is_one_small_file_that_loads_nothing() {
    let script = between(PAGE, "<script>", "</script>");
    assert!(script.lines().count() <= 150, "{} lines of script", script.lines().count());
    for part in ["http:", "https:", "src=", "url(", "@import", "style=\"", "onclick", "innerHTML", "eval("] {
        assert!(!PAGE.contains(part), "the page has {part}");
    }
    assert!(POLICY.starts_with("default-src 'none'; style-src 'sha256-"), "{}", *POLICY);
}

/// That a whole document fills the page is tested in a browser.
#[test]
fn a_document_without_fields_makes_a_page_too() {
    let page = render(&json!({}));
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert_eq!(page.matches("<main").count(), 1);
}

/// The contrast of two colours (WCAG 2.2, 1.4.3), each as `#rrggbb`.
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |colour: &str| {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// The custom properties of the style sheet, for light and dark.
fn colours() -> [std::collections::HashMap<&'static str, &'static str>; 2] {
    let style = between(PAGE, "<style>", "</style>");
    let light = between(style, ":root{", "}");
    let dark = between(style.split_once("prefers-color-scheme:dark").unwrap().1, ":root{", "}");
    [light, dark].map(|block| {
        let pairs = block.split(';').filter_map(|line| line.trim().split_once(':'));
        pairs.filter(|(_, value)| value.starts_with('#')).collect()
    })
}

#[test]
fn texts_have_enough_contrast_in_light_and_dark() {
    for colours in colours() {
        for text in ["--text", "--quiet", "--link", "--good", "--warn", "--bad"] {
            for ground in ["--page", "--card"] {
                let ratio = contrast(colours[text], colours[ground]);
                assert!(ratio >= 4.5, "{text} on {ground}: {ratio:.2}");
            }
        }
        for state in ["--good", "--warn", "--bad"] {
            let ratio = contrast(colours["--on-state"], colours[state]);
            assert!(ratio >= 4.5, "--on-state on {state}: {ratio:.2}");
        }
        // Lines of charts need 3:1 (1.4.11).
        for line in ["--l0", "--l1", "--l2", "--l3"] {
            assert!(contrast(colours[line], colours["--card"]) >= 3.0, "{line}");
        }
    }
    assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 0.01);
}
