//! What one file names, defines and passes on, by its syntax.
//!
//! It must not know other files: paths are kept as absolute as the file alone allows. Macro arguments count
//! too, token by token, so that no use hides in a `format!`.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The name of the library, by which the binary knows it.
const LIBRARY: &str = "s3veil";

/// The crate of the embedded store, which stands in the table of edges as if it were a module.
const STORE: (&str, &str) = ("s3veil_store", "store");

#[derive(Default)]
pub struct Facts {
    /// The module that the file is.
    pub module: Vec<String>,
    /// Each path that the file's product code names, from the root of the crate.
    pub uses: Vec<Vec<String>>,
    /// Names that a `pub use` of this module gives to items of others.
    pub reexports: BTreeMap<String, Vec<String>>,
    /// Modules declared under `#[cfg(test)]`.
    pub test_modules: Vec<Vec<String>>,
    /// Functions with their lengths in lines.
    pub functions: Vec<(String, usize)>,
    /// Lines of the file without the items under `#[cfg(test)]`.
    pub product_lines: usize,
}

pub fn facts_of_file(text: &str, module: Vec<String>) -> Facts {
    let parsed = syn::parse_file(text).unwrap();
    let mut reader = Reader {
        facts: Facts { module: module.clone(), product_lines: text.lines().count(), ..Facts::default() },
        module,
        ..Reader::default()
    };
    reader.visit_file(&parsed);
    let Reader { mut facts, named, imports, .. } = reader;
    for (module, path) in named {
        facts.uses.extend(absolute(&path, &module, &imports));
    }
    facts.uses.extend(imports.into_values());
    facts.uses.sort();
    facts.uses.dedup();
    facts
}

/// The path from the root of the crate, or `None` for what another crate defines.
fn absolute(
    path: &[String],
    module: &[String],
    imports: &BTreeMap<String, Vec<String>>,
) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    let mut found = match first.as_str() {
        "crate" | LIBRARY => Vec::new(),
        "self" => module.to_vec(),
        "super" => module.split_last()?.1.to_vec(),
        first if first == STORE.0 => vec![STORE.1.to_owned()],
        imported => imports.get(imported)?.clone(),
    };
    for segment in rest {
        match segment.as_str() {
            "super" => drop(found.pop()),
            "self" => {}
            _ => found.push(segment.clone()),
        }
    }
    Some(found)
}

#[derive(Default)]
struct Reader {
    facts: Facts,
    /// The module that is read: the file's own, or one that it defines inline.
    module: Vec<String>,
    /// Paths as they are written, with the module that they stand in.
    named: Vec<(Vec<String>, Vec<String>)>,
    imports: BTreeMap<String, Vec<String>>,
}

impl Reader {
    fn note_use(&mut self, tree: &syn::UseTree, before: &[String], is_public: bool) {
        let with = |ident: &syn::Ident| {
            let mut segments = before.to_vec();
            segments.push(ident.to_string());
            segments
        };
        match tree {
            syn::UseTree::Path(path) => self.note_use(&path.tree, &with(&path.ident), is_public),
            syn::UseTree::Name(name) => self.note_import(&with(&name.ident), &name.ident, is_public),
            syn::UseTree::Rename(rename) => {
                self.note_import(&with(&rename.ident), &rename.rename, is_public);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_use(tree, before, is_public);
                }
            }
            _ => self.named.push((self.module.clone(), before.to_vec())),
        }
    }

    fn note_import(&mut self, path: &[String], name: &syn::Ident, is_public: bool) {
        let Some(target) = absolute(path, &self.module, &BTreeMap::new()) else { return };
        let name = if name == "self" { path[path.len() - 2].clone() } else { name.to_string() };
        if is_public && self.module == self.facts.module {
            self.facts.reexports.insert(name.clone(), target.clone());
        }
        self.imports.insert(name, target);
    }

    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 2;
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.note_path(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Punct(_) | TokenTree::Literal(_) | TokenTree::Group(_) => {
                    self.note_path(std::mem::take(&mut path));
                    colons = 2;
                    if let TokenTree::Group(group) = token {
                        self.note_tokens(group.stream());
                    }
                }
            }
        }
        self.note_path(path);
    }

    fn note_path(&mut self, path: Vec<String>) {
        if path.len() > 1 {
            self.named.push((self.module.clone(), path));
        }
    }

    fn note_function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let lines = block.brace_token.span.close().start().line - signature.fn_token.span.start().line;
        self.facts.functions.push((signature.ident.to_string(), lines));
    }

    fn leave_out(&mut self, span: proc_macro2::Span) {
        self.facts.product_lines -= span.end().line - span.start().line + 1;
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_for_tests(attributes(item)) {
            return visit::visit_item(self, item);
        }
        self.leave_out(item.span());
        if let syn::Item::Mod(declared) = item
            && declared.content.is_none()
        {
            let mut module = self.module.clone();
            module.push(declared.ident.to_string());
            self.facts.test_modules.push(module);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if let syn::ImplItem::Fn(function) = item
            && is_for_tests(&function.attrs)
        {
            return self.leave_out(item.span());
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        self.note_use(&item.tree, &[], is_public);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note_path(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.note_tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note_function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note_function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is not exhaustive")]
fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test")
    })
}

#[test]
fn no_way_to_name_an_item_is_overlooked() {
    let ways = [
        "use crate::keyring::Keyring;",
        "use s3veil::keyring::Keyring;",
        "use crate::{keyring::{self, Keyring}};",
        "use super::super::keyring::*;",
        "fn f() { crate::keyring::f() }",
        "use crate::keyring as k; fn f() { k::f() }",
        "fn f() { let _ = format!(\"{}\", [crate::keyring::f()]); }",
        "mod inner { use super::super::super::keyring::Keyring; }",
    ];
    for text in ways {
        let facts = facts_of_file(text, vec!["s3".to_owned(), "xml".to_owned()]);
        assert!(facts.uses.iter().any(|path| path[0] == "keyring"), "{text}: {:?}", facts.uses);
    }
}

#[test]
fn items_for_tests_do_not_count() {
    let text = "fn f() {}\n#[cfg(test)]\nuse crate::keyring;\n#[cfg(test)]\nmod tests {\n\n}\nfn g() {}\n";
    let facts = facts_of_file(text, Vec::new());
    assert!(facts.uses.is_empty());
    assert_eq!(facts.product_lines, 2);
}
