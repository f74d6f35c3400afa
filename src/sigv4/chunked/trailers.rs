//! The header-like lines after the last chunk.

/// Name and value of each trailer, in the order they came; names are lowercase and distinct.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trailers(Vec<(String, String)>);

impl Trailers {
    /// The value of the trailer of this lowercase name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Each trailer's lowercase name and its value without blanks around it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    /// `name:value\n` for each, sorted by name: what the trailer signature covers.
    pub(super) fn canonical(&self) -> Vec<u8> {
        let mut sorted: Vec<(&str, &str)> = self.iter().collect();
        sorted.sort_unstable();
        sorted.iter().flat_map(|(name, value)| format!("{name}:{value}\n").into_bytes()).collect()
    }
}
