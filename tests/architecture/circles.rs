//! Between the modules of one folder, uses run one way.
//!
//! For each module with children (`x.rs` and `x/*.rs`) its children, each with all that is below it, must not
//! use each other in a circle. A child may use what its parent defines itself, and a parent its children:
//! that is how an item is split into files. A name that a parent only passes on (`pub use`) counts as a use
//! of the child that defines it.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{self, Source};

/// From one child to another, with the files and paths that say so.
type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<String>>>;

/// Follows `pub use` to the module that defines an item.
fn defining_module(
    path: &[String],
    modules: &BTreeMap<&[String], &BTreeMap<String, Vec<String>>>,
) -> Vec<String> {
    let mut path = path.to_vec();
    for _ in 0..10 {
        let mut module = path.len();
        while module > 0 && !modules.contains_key(&path[..module]) {
            module -= 1;
        }
        let next = path.get(module).and_then(|name| modules.get(&path[..module])?.get(name));
        match next {
            Some(target) if *target != path[..=module] => {
                path = target.iter().chain(&path[module + 1..]).cloned().collect();
            }
            _ => {
                path.truncate(module);
                break;
            }
        }
    }
    path
}

fn reachable<'a>(graph: &Graph<'a>, from: &'a str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(child) = open.pop() {
        for next in graph.get(child).into_iter().flat_map(BTreeMap::keys) {
            if seen.insert(*next) {
                open.push(next);
            }
        }
    }
    seen
}

/// The groups of children that reach each other, each with the uses that close it.
fn circles(graph: &Graph<'_>) -> Vec<String> {
    let reach: BTreeMap<_, _> = graph.keys().map(|child| (*child, reachable(graph, child))).collect();
    let meets = |a: &str, b: &str| {
        reach.get(a).is_some_and(|far| far.contains(b)) && reach.get(b).is_some_and(|far| far.contains(a))
    };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for child in graph.keys() {
        if !meets(child, child) || seen.contains(child) {
            continue;
        }
        let group: BTreeSet<_> = graph.keys().copied().filter(|other| meets(child, other)).collect();
        let mut lines = vec![group.iter().copied().collect::<Vec<_>>().join(", ")];
        for from in &group {
            for (to, uses) in graph[from].iter().filter(|(to, _)| group.contains(*to)) {
                lines.push(format!("    {from} → {to} ({}): {}", uses.len(), uses[0]));
            }
        }
        found.push(lines.join("\n"));
        seen.extend(group);
    }
    found
}

/// The circles of one crate.
fn circles_of_crate(sources: &[&Source]) -> Vec<String> {
    let modules: BTreeMap<_, _> =
        sources.iter().map(|source| (source.facts.module.as_slice(), &source.facts.reexports)).collect();
    let mut graphs: BTreeMap<&[String], Graph<'_>> = BTreeMap::new();
    let defined: Vec<_> = sources
        .iter()
        .flat_map(|source| source.facts.uses.iter().map(move |path| (*source, path)))
        .map(|(source, path)| (source, path, defining_module(path, &modules)))
        .collect();
    for (source, path, target) in &defined {
        let from = &source.facts.module;
        let common = from.iter().zip(target).take_while(|(a, b)| a == b).count();
        if let (Some(a), Some(b)) = (from.get(common), target.get(common)) {
            let edge = graphs.entry(&from[..common]).or_default().entry(a).or_default().entry(b).or_default();
            edge.push(format!("{} uses {}", source.path.display(), path.join("::")));
        }
    }
    let found = graphs.iter().flat_map(|(module, graph)| {
        let module = if module.is_empty() { "the root".to_owned() } else { module.join("::") };
        circles(graph).into_iter().map(move |circle| format!("in {module}: {circle}"))
    });
    found.collect()
}

#[test]
fn modules_of_one_folder_use_each_other_one_way() {
    let mut found = circles_of_crate(&sources::product().collect::<Vec<_>>());
    found.extend(circles_of_crate(&sources::store().collect::<Vec<_>>()));
    assert!(found.is_empty(), "{} circles:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_circle_of_three_is_found() {
    let edge = |to| BTreeMap::from([(to, vec![String::new()])]);
    let mut graph = Graph::from([("a", edge("b")), ("b", edge("c")), ("c", edge("a")), ("d", edge("a"))]);
    assert_eq!(circles(&graph).len(), 1);
    graph.remove("c");
    assert!(circles(&graph).is_empty());
}
