//! A listing over sorted entries: prefix, delimiter, marker and page, as S3 defines them for objects and
//! uploads.

/// The parameters of a listing.
#[derive(Debug, Clone, Default)]
pub(super) struct Query<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
    /// The marker: a common prefix that it names is not repeated.
    pub(super) after: Option<&'a str>,
    pub(super) max: usize,
}

/// One page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    pub(super) entries: Vec<T>,
    pub(super) common_prefixes: Vec<String>,
    /// The last name on the page, if more names follow.
    pub(super) next: Option<String>,
}

/// The page of `entries`, which are (key, entry) in the order of the keys' bytes. Entries that were on an
/// earlier page, as `is_before` says, are left out.
pub(super) fn page<T>(
    entries: Vec<(String, T)>,
    query: &Query<'_>,
    is_before: impl Fn(&str, &T) -> bool,
) -> Page<T> {
    let mut page = Page { entries: Vec::new(), common_prefixes: Vec::new(), next: None };
    let mut last: Option<String> = None;
    let mut count = 0;
    for (object, entry) in entries {
        let Some(rest) = object.strip_prefix(query.prefix) else { continue };
        let folded = query
            .delimiter
            .filter(|delimiter| !delimiter.is_empty())
            .and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()))
            .map(|end| object[..query.prefix.len() + end].to_owned());
        let is_folded = folded.is_some();
        let is_before = is_before(&object, &entry);
        let name = folded.unwrap_or(object);
        let is_listed =
            is_folded && (page.common_prefixes.last() == Some(&name) || query.after == Some(name.as_str()));
        let is_seen = is_before || is_listed;
        if is_seen {
            continue;
        }
        if count == query.max {
            page.next = last;
            return page;
        }
        count += 1;
        last = Some(name.clone());
        if is_folded {
            page.common_prefixes.push(name);
        } else {
            page.entries.push(entry);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page<T>(entries: Vec<(String, T)>, query: &Query<'_>) -> Page<T> {
        super::page(entries, query, |object, _| query.after.is_some_and(|after| object <= after))
    }

    const KEYS: &[&str] = &["/lead", "a", "a/", "a/b", "a/b/c", "a//d", "b", "b/é", "z/"];

    fn sorted() -> Vec<(String, &'static str)> {
        let mut keys: Vec<_> = KEYS.iter().map(|key| ((*key).to_owned(), *key)).collect();
        keys.sort();
        keys
    }

    #[test]
    fn prefix_and_delimiter() {
        let page_of =
            |prefix, delimiter| page(sorted(), &Query { prefix, delimiter, after: None, max: 1000 });
        let page = page_of("", Some("/"));
        assert_eq!(page.entries, ["a", "b"]);
        assert_eq!(page.common_prefixes, ["/", "a/", "b/", "z/"]);
        let page = page_of("a/", Some("/"));
        assert_eq!(page.entries, ["a/", "a/b"]);
        assert_eq!(page.common_prefixes, ["a//", "a/b/"]);
        assert_eq!(page_of("a", None).entries, ["a", "a/", "a//d", "a/b", "a/b/c"]);
        assert_eq!(page_of("none", None).entries, [""; 0]);
    }

    #[test]
    fn pages_add_up_to_the_whole_whatever_their_size() {
        for delimiter in [None, Some("/")] {
            let whole = page(sorted(), &Query { delimiter, max: 1000, ..Query::default() });
            for max in 1..=KEYS.len() {
                let (mut entries, mut prefixes, mut after) = (Vec::new(), Vec::new(), None::<String>);
                loop {
                    let part = page(sorted(), &Query { delimiter, max, after: after.as_deref(), prefix: "" });
                    assert!(part.entries.len() + part.common_prefixes.len() <= max);
                    entries.extend(part.entries);
                    prefixes.extend(part.common_prefixes);
                    after = part.next;
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!((&entries, &prefixes), (&whole.entries, &whole.common_prefixes), "{max}");
            }
        }
    }

    #[test]
    fn a_marker_inside_a_common_prefix_leaves_the_prefix_for_what_follows() {
        let after = |after| {
            page(sorted(), &Query { delimiter: Some("/"), after: Some(after), prefix: "", max: 1000 })
        };
        assert_eq!(after("a/b").common_prefixes, ["a/", "b/", "z/"]);
        assert_eq!(after("a/b/c").common_prefixes, ["b/", "z/"]);
        assert_eq!(after("a/").common_prefixes, ["b/", "z/"]);
    }

    #[test]
    fn a_page_of_nothing_has_no_next() {
        let page = page(sorted(), &Query { max: 0, ..Query::default() });
        assert_eq!((page.entries.len(), page.next), (0, None));
    }
}
