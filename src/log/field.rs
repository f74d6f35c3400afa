//! The names of fields, as lines have them.
//! It must not know what a field means.
//! It promises that the punctuation around a name is put together when this is compiled.

/// Maximum bytes of a value, before escaping.
const MAX_VALUE: usize = 256;

/// The name of a field. The macro `field!` makes it of a literal.
#[derive(Debug, Clone, Copy)]
pub struct FieldName {
    json: &'static str,
    logfmt: &'static str,
    max_value: usize,
}

impl FieldName {
    /// The name as `,"name":` and as ` name=`; for `field!`.
    pub(crate) const fn new(name: &str, json: &'static str, logfmt: &'static str) -> Self {
        Self { json, logfmt, max_value: max_value(name) }
    }

    /// The name in a JSON object, after another field: `,"name":`.
    pub(crate) const fn json(self) -> &'static str {
        self.json
    }

    /// The name in logfmt, after another field: ` name=`.
    pub(super) const fn logfmt(self) -> &'static str {
        self.logfmt
    }

    /// Maximum bytes of the field's value in a log line, before escaping.
    pub(super) const fn max_value(self) -> usize {
        self.max_value
    }
}

/// The `FieldName` of a name, which needs no escapes.
macro_rules! field {
    ($name:literal) => {
        const { $crate::log::FieldName::new($name, concat!(",\"", $name, "\":"), concat!(" ", $name, "=")) }
    };
}
pub(crate) use field;

/// Maximum bytes of a field's value, before escaping: an object's key is shown in full, and the root of a
/// cause comes last.
pub(super) const fn max_value(name: &str) -> usize {
    match name.as_bytes() {
        b"object_key" | b"msg" => 1024,
        b"cause" | b"error" => 512,
        _ => MAX_VALUE,
    }
}
