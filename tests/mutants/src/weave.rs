//! Writes a source in which all of its mutants are there at once, each behind a switch,
//! so that one build serves all of them.

use std::{cmp::Reverse, collections::HashMap, ops::Range};

use anyhow::{Context, Result};
use proc_macro2::Span;
use syn::{
    BinOp, Expr,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use crate::{
    constants::{self, Constant},
    list::{Genre, Mutant},
};

/// Why some do not compile, whatever is written.
pub(crate) const LET: &str = "a condition with `let` knows nothing but `&&`";

/// A source with switches.
#[derive(Default)]
pub(crate) struct Woven {
    pub(crate) text: String,
    /// Where in the text each mutant is: what it says, and all that it stands beside.
    pub(crate) arms: Vec<Arm>,
    /// Those that cannot be written in this form, and why.
    pub(crate) left_out: Vec<(u32, String)>,
}

/// What of a woven text is a mutant's.
pub(crate) struct Arm {
    pub(crate) number: u32,
    pub(crate) own: Range<usize>,
    pub(crate) whole: Range<usize>,
}

/// A change to the text.
struct Edit {
    range: Range<usize>,
    /// Of two that are about the same text, the lower one is around the other.
    rank: usize,
    kind: Kind,
}

enum Kind {
    /// An expression that is another one when a mutant is on.
    Choice(Vec<(u32, String)>),
    /// Statements or a guard that a mutant adds.
    Insert(Vec<(u32, String)>),
    /// A body whose type nobody names: what it returns goes into a box.
    Boxed(Vec<(u32, String)>, String),
}

/// Writes these mutants into their source, and what constants are in their own.
pub(crate) fn weave(
    file: &str,
    source: &str,
    mutants: &[&Mutant],
    constants: &[Constant],
) -> Result<Woven> {
    let mut woven = Woven::default();
    let mut found = Vec::new();
    for (range, number, value) in constants::uses(file, source, constants)? {
        found.push((range, 3, Kind::Choice(vec![(number, value)])));
    }
    if found.is_empty() && mutants.is_empty() {
        source.clone_into(&mut woven.text);
        return Ok(woven);
    }
    let mut nodes = Nodes::default();
    nodes.visit_file(&syn::parse_file(source)?);
    for mutant in mutants.iter().filter(|mutant| !constants::is_one(mutant)) {
        match edit(source, &nodes, mutant) {
            Ok(edit) => found.push(edit),
            Err(error) => woven.left_out.push((mutant.number, error.to_string())),
        }
    }
    let mut edits: HashMap<(usize, usize, usize), Edit> = HashMap::new();
    for (range, rank, kind) in found {
        let key = (range.start, range.end, rank);
        match edits.get_mut(&key) {
            None => drop(edits.insert(key, Edit { range, rank, kind })),
            Some(edit) => match (&mut edit.kind, kind) {
                (Kind::Choice(all), Kind::Choice(more))
                | (Kind::Insert(all), Kind::Insert(more))
                | (Kind::Boxed(all, _), Kind::Boxed(more, _)) => all.extend(more),
                _ => anyhow::bail!("two kinds of change at {key:?}"),
            },
        }
    }
    let mut edits: Vec<Edit> = edits.into_values().collect();
    edits.sort_by_key(|edit| (edit.range.start, Reverse(edit.range.end), edit.rank));
    woven.write(source, 0..source.len(), &edits);
    Ok(woven)
}

/// What a mutant changes, and where.
fn edit(source: &str, nodes: &Nodes, mutant: &Mutant) -> Result<(Range<usize>, usize, Kind)> {
    let number = mutant.number;
    let start = mutant.bytes.start;
    let replacement = &mutant.replacement;
    Ok(match mutant.genre {
        Genre::BinaryOperator => {
            let node = nodes.binaries.get(&start).context("no operator is there")?;
            anyhow::ensure!(!node.has_let, LET);
            let (left, right) = (&source[node.left.clone()], &source[node.right.clone()]);
            let other = format!("({left}) {replacement} ({right})");
            (node.left.start..node.right.end, 2, Kind::Choice(vec![(number, other)]))
        }
        Genre::UnaryOperator => {
            let node = nodes.unaries.get(&start).context("no operator is there")?;
            let other = format!("{replacement}{}", &source[node.operand.clone()]);
            (start..node.operand.end, 2, Kind::Choice(vec![(number, other)]))
        }
        Genre::MatchArmGuard => {
            let guard = nodes.guards.get(&start).context("no guard is there")?;
            (guard.clone(), 1, Kind::Choice(vec![(number, replacement.clone())]))
        }
        Genre::MatchArm => match nodes.arms.get(&start).context("no arm is there")? {
            Guard::At(guard) => (guard.clone(), 1, Kind::Choice(vec![(number, "false".into())])),
            Guard::NoneAt(at) => {
                let guard = format!(" if !crate::mutant::is({number})");
                (*at..*at, 0, Kind::Insert(vec![(number, guard)]))
            }
        },
        Genre::StructField => {
            let node = nodes.fields.get(&start).context("no field is there")?;
            let behind = source[node.field.end..].trim_start();
            let rest = behind.strip_prefix(',').unwrap_or(behind);
            let rest = source.len() - rest.len()..node.whole.end;
            let other = format!("{}{}", &source[node.whole.start..node.field.start], &source[rest]);
            (node.whole.clone(), 2, Kind::Choice(vec![(number, other)]))
        }
        Genre::FnValue => {
            let body = nodes.bodies.get(&start).context("no body is there")?;
            anyhow::ensure!(!body.is_within, "it returns a type that nobody names");
            if let Some(shown) = &body.hidden {
                let inner = body.block.start + 1..body.block.end - 1;
                let other = format!("Box::new({replacement})");
                (inner, 0, Kind::Boxed(vec![(number, other)], shown.clone()))
            } else {
                let at = body.block.start + 1;
                let early = format!(" if crate::mutant::is({number}) {{ return {replacement}; }}");
                (at..at, 0, Kind::Insert(vec![(number, early)]))
            }
        }
    })
}

impl Woven {
    /// Writes a part of the source with the changes to it.
    fn write(&mut self, source: &str, part: Range<usize>, edits: &[Edit]) {
        let mut at = part.start;
        let mut rest = edits;
        while let Some((edit, others)) = rest.split_first() {
            self.text.push_str(&source[at..edit.range.start]);
            let within = others.iter().take_while(|it| it.range.start < edit.range.end).count();
            let (within, behind) = others.split_at(within);
            let start = self.text.len();
            let mut own = Vec::new();
            match &edit.kind {
                Kind::Insert(all) => {
                    for (number, text) in all {
                        own.push((*number, self.push(text)));
                    }
                }
                Kind::Choice(all) => {
                    self.text.push('(');
                    for (number, text) in all {
                        self.text.push_str(&format!("if crate::mutant::is({number}) {{ "));
                        own.push((*number, self.push(text)));
                        self.text.push_str(" } else ");
                    }
                    self.text.push_str("{ ");
                    self.write(source, edit.range.clone(), within);
                    self.text.push_str(" })");
                }
                Kind::Boxed(all, shown) => {
                    self.text.push_str(&format!(" let woven: Box<{shown}> = "));
                    for (number, text) in all {
                        self.text.push_str(&format!("if crate::mutant::is({number}) {{ "));
                        own.push((*number, self.push(text)));
                        self.text.push_str(" } else ");
                    }
                    self.text.push_str("{ Box::new({ ");
                    self.write(source, edit.range.clone(), within);
                    self.text.push_str(" }) }; woven ");
                }
            }
            let whole = start..self.text.len();
            self.arms.extend(own.into_iter().map(|(number, own)| Arm {
                number,
                own,
                whole: whole.clone(),
            }));
            at = edit.range.end;
            rest = behind;
        }
        self.text.push_str(&source[at..part.end]);
    }

    fn push(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }
}

/// What mutants are about, by where cargo-mutants sees it.
#[derive(Default)]
struct Nodes {
    binaries: HashMap<usize, Binary>,
    unaries: HashMap<usize, Unary>,
    bodies: HashMap<usize, Body>,
    arms: HashMap<usize, Guard>,
    guards: HashMap<usize, Range<usize>>,
    fields: HashMap<usize, Field>,
}

struct Binary {
    left: Range<usize>,
    right: Range<usize>,
    has_let: bool,
}

struct Unary {
    operand: Range<usize>,
}

struct Body {
    block: Range<usize>,
    /// The trait of an `impl Trait` that it returns, as that of an object.
    hidden: Option<String>,
    /// Whether there is one somewhere within what it returns.
    is_within: bool,
}

struct Field {
    whole: Range<usize>,
    field: Range<usize>,
}

/// Where the guard of an arm is, or would be.
enum Guard {
    At(Range<usize>),
    NoneAt(usize),
}

fn bytes(span: Span) -> Range<usize> {
    span.byte_range()
}

fn has_let(side: &Expr) -> bool {
    match side {
        Expr::Let(_) => true,
        Expr::Binary(it) if matches!(it.op, BinOp::And(_)) => {
            has_let(&it.left) || has_let(&it.right)
        }
        _ => false,
    }
}

impl Nodes {
    fn body(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let Some(first) = block.stmts.first() else { return };
        let hidden = match &signature.output {
            syn::ReturnType::Type(_, shown) => match &**shown {
                syn::Type::ImplTrait(it) => Some(it),
                _ => None,
            },
            syn::ReturnType::Default => None,
        };
        let hidden = hidden.map(|it| {
            let text = it.bounds.span().source_text().unwrap_or_default();
            format!("dyn {text} + Send + '_")
        });
        let is_within = hidden.is_none()
            && signature.output.span().source_text().is_some_and(|it| it.contains("impl "));
        let body = Body { block: bytes(block.span()), hidden, is_within };
        self.bodies.insert(bytes(first.span()).start, body);
    }
}

impl<'ast> Visit<'ast> for Nodes {
    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        let has_let = has_let(&node.left) || has_let(&node.right);
        let (left, right) = (bytes(node.left.span()), bytes(node.right.span()));
        let start = bytes(node.op.span()).start;
        self.binaries.insert(start, Binary { left, right, has_let });
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast syn::ExprUnary) {
        let operand = bytes(node.expr.span());
        self.unaries.insert(bytes(node.op.span()).start, Unary { operand });
        visit::visit_expr_unary(self, node);
    }

    fn visit_arm(&mut self, node: &'ast syn::Arm) {
        let guard = match &node.guard {
            Some((_, guard)) => {
                let guard = bytes(guard.span());
                self.guards.insert(guard.start, guard.clone());
                Guard::At(guard)
            }
            None => Guard::NoneAt(bytes(node.pat.span()).end),
        };
        self.arms.insert(bytes(node.span()).start, guard);
        visit::visit_arm(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'ast syn::ExprStruct) {
        for field in &node.fields {
            let (whole, field) = (bytes(node.span()), bytes(field.span()));
            self.fields.insert(field.start, Field { whole, field });
        }
        visit::visit_expr_struct(self, node);
    }

    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        self.body(&node.sig, &node.block);
        visit::visit_item_fn(self, node);
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        self.body(&node.sig, &node.block);
        visit::visit_impl_item_fn(self, node);
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        if let Some(block) = &node.default {
            self.body(&node.sig, block);
        }
        visit::visit_trait_item_fn(self, node);
    }
}
