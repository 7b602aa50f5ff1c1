//! Mutants of constants: nothing can be switched there, so that each use of one is another
//! value when its mutant is on.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::{spanned::Spanned as _, visit::Visit};

use crate::list::{Genre, Mutant};

/// A constant with a mutant.
pub(crate) struct Constant {
    name: String,
    file: String,
    is_private: bool,
    number: u32,
    /// Its value in the mutant.
    value: String,
}

/// Whether a mutant is of a constant.
pub(crate) fn is_one(mutant: &Mutant) -> bool {
    mutant.name.function.is_empty() && mutant.genre == Genre::BinaryOperator
}

/// The constants that these mutants change.
pub(crate) fn of(sources: &BTreeMap<String, String>, mutants: &[&Mutant]) -> Result<Vec<Constant>> {
    let mut all = Vec::new();
    for mutant in mutants.iter().filter(|mutant| is_one(mutant)) {
        let source = sources.get(&mutant.name.file).context("no source")?;
        let mut found = Found { mutant, source, constant: None };
        found.visit_file(&syn::parse_file(source)?);
        all.push(found.constant.with_context(|| format!("{}: no constant", mutant.name))?);
    }
    Ok(all)
}

struct Found<'a> {
    mutant: &'a Mutant,
    source: &'a str,
    constant: Option<Constant>,
}

impl<'ast> Visit<'ast> for Found<'_> {
    fn visit_item_const(&mut self, node: &'ast syn::ItemConst) {
        let (whole, at) = (node.expr.span().byte_range(), self.mutant.bytes.clone());
        if !whole.contains(&at.start) {
            return;
        }
        let mut sides = Sides { at: at.start, sides: None };
        sides.visit_expr(&node.expr);
        let Some((left, right)) = sides.sides else { return };
        let value = format!(
            "{}(({}) {} ({})){}",
            &self.source[whole.start..left.start],
            &self.source[left.clone()],
            self.mutant.replacement,
            &self.source[right.clone()],
            &self.source[right.end..whole.end],
        );
        self.constant = Some(Constant {
            name: node.ident.to_string(),
            file: self.mutant.name.file.clone(),
            is_private: matches!(node.vis, syn::Visibility::Inherited),
            number: self.mutant.number,
            value,
        });
    }
}

/// What stands on both sides of an operator.
struct Sides {
    at: usize,
    sides: Option<(Range<usize>, Range<usize>)>,
}

impl<'ast> Visit<'ast> for Sides {
    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        if node.op.span().byte_range().start == self.at {
            self.sides = Some((node.left.span().byte_range(), node.right.span().byte_range()));
        }
        syn::visit::visit_expr_binary(self, node);
    }
}

/// Where a file uses these constants, and what they are there when a mutant is on.
pub(crate) fn uses(
    file: &str,
    source: &str,
    constants: &[Constant],
) -> Result<Vec<(Range<usize>, u32, String)>> {
    let mut uses = Vec::new();
    for constant in constants {
        let is_own = constant.file == file;
        if (!is_own && constant.is_private) || !source.contains(&constant.name) {
            continue;
        }
        let mut places = Vec::new();
        let tokens: TokenStream = source.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut defines = false;
        named(tokens, &constant.name, &mut places, &mut defines);
        // Another one of the same name.
        if defines && !is_own {
            continue;
        }
        uses.extend(
            places.into_iter().map(|place| (place, constant.number, constant.value.clone())),
        );
    }
    Ok(uses)
}

/// Where a name stands, but for where it is imported or defined.
fn named(tokens: TokenStream, name: &str, places: &mut Vec<Range<usize>>, defines: &mut bool) {
    let mut before = String::new();
    let mut is_use = false;
    for token in tokens {
        match &token {
            TokenTree::Group(group) if !is_use => named(group.stream(), name, places, defines),
            TokenTree::Ident(ident) => {
                if *ident == "use" {
                    is_use = true;
                }
                if *ident == name && before == "const" {
                    *defines = true;
                } else if *ident == name && !is_use {
                    places.push(ident.span().byte_range());
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => is_use = false,
            _ => {}
        }
        before = token.to_string();
    }
}
