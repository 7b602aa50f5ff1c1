//! Whether a condition can work, before any request comes: its variables, its
//! functions, its types as far as they are known, and how much work it may be.

use cel::{
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
    parser::Expression,
};

use super::{
    budget::STEPS,
    expression::{constants, literal_text, work},
    facts::Object,
    function,
    kind::Kind,
    pattern::Pattern,
    program,
    source::{Source, Trouble},
};

/// What a condition of one rule may name.
pub struct Scope<'s> {
    /// The variables of the rule's `path_template`.
    pub path: &'s [&'s str],
    /// What `check.context` names.
    pub context: &'s [&'s str],
    /// Whether a header of this name, in lower case, is kept from conditions.
    pub is_hidden: &'s dyn Fn(&str) -> bool,
}

impl std::fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut scope = f.debug_struct("Scope");
        scope.field("path", &self.path).field("context", &self.context).finish_non_exhaustive()
    }
}

/// Types that can be named.
const TYPES: [&str; 12] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
];

/// Everything that is wrong with a condition; its type, when nothing is.
pub(super) fn check(source: &Source, scope: &Scope<'_>) -> Result<Kind, Vec<Trouble>> {
    let mut checker =
        Checker { source, scope, named: Vec::new(), loops: Vec::new(), troubles: Vec::new() };
    let kind = checker.value(&source.expr);
    let work = work(&source.expr);
    if work > STEPS {
        let cause = format!("it is too much work: it takes {work} steps, and {STEPS} are allowed");
        checker.troubles.push(Trouble::of_all(cause));
    }
    if checker.troubles.is_empty() { Ok(kind) } else { Err(checker.troubles) }
}

struct Checker<'c> {
    source: &'c Source,
    scope: &'c Scope<'c>,
    /// The variables of macros, the innermost last.
    named: Vec<(String, Kind)>,
    /// The macros that lie around, and whether each is over constants.
    loops: Vec<bool>,
    troubles: Vec<Trouble>,
}

impl Checker<'_> {
    fn trouble(&mut self, part: &Expression, cause: impl Into<String>) -> Kind {
        self.troubles.push(self.source.trouble(part, cause));
        Kind::Any
    }

    /// The type of an expression that is used as a value.
    fn value(&mut self, expr: &Expression) -> Kind {
        match self.infer(expr) {
            Kind::Object(object) => {
                let cause = if object.is_map() {
                    format!(
                        "{0} as a whole is no value: name one of it, ask \"name\" in {0}, or go \
                         through it with a macro",
                        object.as_str()
                    )
                } else {
                    format!("{} is no value: {}", object.as_str(), self.asks_for(object))
                };
                self.trouble(expr, cause)
            }
            kind => kind,
        }
    }

    fn infer(&mut self, expr: &Expression) -> Kind {
        match &expr.expr {
            Expr::Literal(literal) => literal_kind(literal),
            Expr::Ident(name) => self.ident(expr, name),
            Expr::Select(_) if is_type(expr) => Kind::Type,
            Expr::Select(select) => {
                let of = self.infer(&select.operand);
                let kind = self.field(expr, of, &select.field);
                if select.test { Kind::Bool } else { kind }
            }
            Expr::List(list) => Kind::list(self.joined(&list.elements)),
            Expr::Map(map) => {
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        keys.push(entry.key.clone());
                        values.push(entry.value.clone());
                    }
                }
                Kind::map(self.joined(&keys), self.joined(&values))
            }
            Expr::Call(call) => self.call(expr, call),
            Expr::Comprehension(it) => self.comprehension(it),
            Expr::Struct(_) | Expr::Unspecified => {
                self.trouble(expr, "messages cannot be made in a condition")
            }
        }
    }

    /// The type that all of them are.
    fn joined(&mut self, items: &[Expression]) -> Kind {
        let kinds: Vec<Kind> = items.iter().map(|item| self.value(item)).collect();
        kinds.into_iter().reduce(Kind::join).unwrap_or(Kind::Any)
    }

    fn ident(&mut self, expr: &Expression, name: &str) -> Kind {
        if let Some((_, kind)) = self.named.iter().rev().find(|(own, _)| own == name) {
            return kind.clone();
        }
        match Object::named(name) {
            Some(object) => Kind::Object(object),
            None if TYPES.contains(&name) => Kind::Type,
            None => {
                let known = Object::ROOTS.map(Object::as_str).join(", ");
                let cause = format!("there is no variable {name}; there are: {known}");
                self.trouble(expr, cause + hint_of_headers(self.source.text()))
            }
        }
    }

    fn field(&mut self, expr: &Expression, of: Kind, name: &str) -> Kind {
        match of {
            Kind::Any => Kind::Any,
            Kind::Map(keys, values) if Kind::Text.fits(&keys) => *values,
            Kind::Object(object @ (Object::Headers | Object::Query | Object::Claims)) => {
                self.header_name(expr, object, name);
                map_kind(object)
            }
            Kind::Object(object) => {
                let known = self.names(object);
                if known.contains(&name) {
                    return field_kind(object, name);
                }
                let cause = format!("{} has no {name}: {}", object.as_str(), self.asks_for(object));
                self.trouble(expr, cause)
            }
            other => self.trouble(expr, format!("a {other} has no field {name}")),
        }
    }

    fn names(&self, object: Object) -> Vec<&str> {
        match object {
            Object::Path => self.scope.path.to_vec(),
            Object::Context => self.scope.context.to_vec(),
            _ => object.fields().unwrap_or_default().to_vec(),
        }
    }

    /// What there is to be named.
    fn asks_for(&self, object: Object) -> String {
        match (object, self.names(object).as_slice()) {
            (Object::Path, []) => "write path_template with {variables}".to_owned(),
            (Object::Context, []) => "name it in check.context, with its default".to_owned(),
            (_, names) => format!("name one of: {}", names.join(", ")),
        }
    }

    fn call(&mut self, expr: &Expression, call: &CallExpr) -> Kind {
        if call.func_name == operators::INDEX
            && let [of, at] = call.args.as_slice()
        {
            return self.index(expr, of, at);
        }
        if call.func_name == "matches"
            && let Some(pattern) = call.args.last()
        {
            match literal_text(pattern).map(Pattern::compile) {
                None => return self.trouble(pattern, "a regular expression has to be a constant"),
                Some(Err(cause)) => return self.trouble(pattern, cause),
                Some(Ok(_)) => {}
            }
        }
        let is_member = call.target.is_some();
        let given: Vec<&Expression> =
            call.target.iter().map(|target| &**target).chain(&call.args).collect();
        // Of a map that a request brings there is a size, and what it holds.
        let last = given.len().saturating_sub(1);
        let takes_map =
            |at| at == last && matches!(call.func_name.as_str(), "size" | operators::IN);
        let mut kinds = Vec::with_capacity(given.len());
        for (at, one) in given.iter().enumerate() {
            kinds.push(match self.infer(one) {
                Kind::Object(object) if object.is_map() && takes_map(at) => {
                    if let Some(name) = given.first().and_then(|name| literal_text(name)) {
                        self.header_name(one, object, name);
                    }
                    Kind::map(Kind::Text, map_kind(object))
                }
                Kind::Object(_) => self.value(one),
                kind => kind,
            });
        }
        match function::result(&call.func_name, &kinds, is_member) {
            Err(cause) => self.trouble(expr, cause),
            Ok(kind) => {
                if let [text] = call.args.as_slice()
                    && !is_member
                    && literal_text(text).is_some()
                    && let Some(cause) = program::failure_of_constant(expr)
                {
                    return self.trouble(expr, format!("{}() fails: {cause}", call.func_name));
                }
                kind
            }
        }
    }

    fn index(&mut self, expr: &Expression, of: &Expression, at: &Expression) -> Kind {
        let (kind, key) = (self.infer(of), literal_text(at));
        match (&kind, key) {
            (Kind::Object(_), Some(name)) => return self.field(expr, kind, name),
            (Kind::Object(object), None) if object.is_map() => {
                let name = self.value(at);
                if !name.fits(&Kind::Text) {
                    return self.trouble(at, format!("a name is a string, but this is a {name}"));
                }
                return map_kind(*object);
            }
            (Kind::Object(_), None) => return self.value(of),
            _ => {}
        }
        let at = self.value(at);
        function::result(operators::INDEX, &[kind, at], false)
            .unwrap_or_else(|cause| self.trouble(expr, cause))
    }

    /// A header that is named has to be one that can be there.
    fn header_name(&mut self, expr: &Expression, object: Object, name: &str) {
        if object != Object::Headers {
            return;
        }
        if name.chars().any(|c| c.is_ascii_uppercase()) {
            let cause = format!("names of headers are in lower case: {}", name.to_lowercase());
            self.trouble(expr, cause);
        } else if (self.scope.is_hidden)(name) {
            let cause = format!(
                "{name} is kept from conditions: it is, or may hold, a credential or an identity"
            );
            self.trouble(expr, cause);
        }
    }

    fn comprehension(&mut self, it: &ComprehensionExpr) -> Kind {
        let item = match self.infer(&it.iter_range) {
            Kind::Object(object) if object.is_map() => Kind::Text,
            Kind::Object(_) => self.value(&it.iter_range),
            Kind::List(of) => *of,
            Kind::Map(keys, _) => *keys,
            Kind::Any => Kind::Any,
            other => self.trouble(&it.iter_range, format!("a {other} cannot be iterated over")),
        };
        let is_constant = constants(&it.iter_range).is_some();
        // What grows with the request may grow with it once, not with its square.
        let are_constant = is_constant && self.loops.iter().all(|constant| *constant);
        if !self.loops.is_empty() && !are_constant {
            let cause = "in a macro within a macro, both must iterate over lists of constants";
            self.trouble(&it.iter_range, cause);
        }
        let start = self.value(&it.accu_init);
        let outside = self.named.len();
        self.named.push((it.iter_var.clone(), item));
        self.named.push((it.accu_var.clone(), start.clone()));
        self.loops.push(is_constant);
        self.value(&it.loop_cond);
        let step = self.value(&it.loop_step);
        self.loops.pop();
        self.named.truncate(outside);
        self.named.push((it.accu_var.clone(), start.join(step)));
        let kind = self.value(&it.result);
        self.named.truncate(outside);
        kind
    }
}

/// Whether it is a type whose name has several parts.
fn is_type(expr: &Expression) -> bool {
    let mut names = Vec::new();
    let mut rest = expr;
    while let Expr::Select(select) = &rest.expr {
        names.push(select.field.as_str());
        rest = &select.operand;
    }
    let Expr::Ident(root) = &rest.expr else { return false };
    names.push(root);
    names.reverse();
    TYPES.contains(&names.join(".").as_str())
}

/// What a map holds that a request brings.
fn map_kind(object: Object) -> Kind {
    match object {
        Object::Claims => Kind::Any,
        Object::Query => Kind::list(Kind::Text),
        _ => Kind::Text,
    }
}

/// What may be meant where a header's name is no name of CEL.
fn hint_of_headers(text: &str) -> &'static str {
    if text.contains("request.headers.") {
        "; a header with a hyphen is written request.headers[\"x-tenant\"]"
    } else {
        ""
    }
}

fn field_kind(object: Object, name: &str) -> Kind {
    match (object, name) {
        (Object::Request, "segments") | (Object::User, "scopes") => Kind::list(Kind::Text),
        (Object::Request, "headers") => Kind::Object(Object::Headers),
        (Object::Request, "query") => Kind::Object(Object::Query),
        (Object::Request, "time") => Kind::Time,
        (Object::Mcp, "arguments") => Kind::Any,
        (Object::Llm, "stream") => Kind::Bool,
        _ => Kind::Text,
    }
}

fn literal_kind(literal: &LiteralValue) -> Kind {
    match literal {
        LiteralValue::Boolean(_) => Kind::Bool,
        LiteralValue::Bytes(_) => Kind::Bytes,
        LiteralValue::Double(_) => Kind::Double,
        LiteralValue::Int(_) => Kind::Int,
        LiteralValue::Null => Kind::Null,
        LiteralValue::String(_) => Kind::Text,
        LiteralValue::UInt(_) => Kind::Uint,
    }
}
