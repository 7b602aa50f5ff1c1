//! Whether a condition can work, before any request comes: its variables, its
//! functions, its types as far as they are known, and how much work it may be.

use cel::{
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
    parser::Expression,
};

use super::{
    facts::Object,
    function,
    kind::Kind,
    pattern::Pattern,
    program::{self, BUDGET},
    source::{Source, Trouble, children},
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
    if work > BUDGET {
        let cause = format!("it is too much work: {work} steps, and {BUDGET} may be done");
        checker.troubles.push(Trouble::of_all(cause));
    }
    if checker.troubles.is_empty() { Ok(kind) } else { Err(checker.troubles) }
}

/// How many steps an expression takes, but for what depends on the request.
pub(super) fn work(expr: &Expression) -> u64 {
    let all = |of: &[&Expression]| of.iter().map(|part| work(part)).fold(1, u64::saturating_add);
    match &expr.expr {
        Expr::Comprehension(it) => {
            let once = all(&[&it.loop_cond, &it.loop_step]);
            let times = constants(&it.iter_range).unwrap_or(1) as u64;
            all(&[&it.iter_range, &it.accu_init, &it.result])
                .saturating_add(once.saturating_mul(times))
        }
        _ => all(&children(expr)),
    }
}

/// How many there are in a list of constants; none for anything else.
fn constants(expr: &Expression) -> Option<usize> {
    let Expr::List(list) = &expr.expr else { return None };
    let is_constant = |item: &Expression| matches!(item.expr, Expr::Literal(_));
    list.elements.iter().all(is_constant).then_some(list.elements.len())
}

/// The text of a literal.
pub(super) fn literal_text(expr: &Expression) -> Option<&str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
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
                let cause = format!("{} is no value: {}", object.as_str(), self.asks_for(object));
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
        // With a dot before it, it is none of a macro's.
        let (name, is_inner) = name.strip_prefix('.').map_or((name, true), |name| (name, false));
        let inner = self.named.iter().rev().find(|(own, _)| own == name);
        if let Some((_, kind)) = inner.filter(|_| is_inner) {
            return kind.clone();
        }
        match Object::named(name) {
            Some(Object::Claims) => Kind::map(Kind::Text, Kind::Any),
            Some(object) => Kind::Object(object),
            None if TYPES.contains(&name) => Kind::Type,
            None => {
                let known = Object::ROOTS.map(Object::as_str).join(", ");
                self.trouble(expr, format!("there is no variable {name}; there are: {known}"))
            }
        }
    }

    fn field(&mut self, expr: &Expression, of: Kind, name: &str) -> Kind {
        match of {
            Kind::Any => Kind::Any,
            Kind::Map(keys, values) if Kind::Text.fits(&keys) => *values,
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
        let given: Vec<Kind> = given.into_iter().map(|one| self.value(one)).collect();
        if let [text] = call.args.as_slice()
            && !is_member
            && literal_text(text).is_some()
            && let Some(cause) = program::failure_of_constant(expr)
        {
            return self.trouble(expr, format!("{}() fails: {cause}", call.func_name));
        }
        match function::result(&call.func_name, &given, is_member) {
            Ok(kind) => kind,
            Err(cause) => self.trouble(expr, cause),
        }
    }

    fn index(&mut self, expr: &Expression, of: &Expression, at: &Expression) -> Kind {
        let (kind, key) = (self.infer(of), literal_text(at));
        if let (Kind::Object(_), Some(name)) = (&kind, key) {
            return self.field(expr, kind, name);
        }
        if let (Some(name), true) = (key, is_headers(of)) {
            if name.chars().any(|c| c.is_ascii_uppercase()) {
                let cause = format!("names of headers are in lower case: {}", name.to_lowercase());
                return self.trouble(at, cause);
            }
            if (self.scope.is_hidden)(name) {
                let cause = format!(
                    "{name} is kept from conditions: it is, or may hold, a credential or an identity"
                );
                return self.trouble(at, cause);
            }
        }
        if let Kind::Object(_) = kind {
            return self.value(of);
        }
        let at = self.value(at);
        function::result(operators::INDEX, &[kind, at], false)
            .unwrap_or_else(|cause| self.trouble(expr, cause))
    }

    fn comprehension(&mut self, it: &ComprehensionExpr) -> Kind {
        let item = match self.value(&it.iter_range) {
            Kind::List(of) => *of,
            Kind::Map(keys, _) => *keys,
            Kind::Any => Kind::Any,
            other => self.trouble(&it.iter_range, format!("a {other} cannot be gone through")),
        };
        let is_constant = constants(&it.iter_range).is_some();
        // What grows with the request may grow with it once, not with its square.
        let are_constant = is_constant && self.loops.iter().all(|constant| *constant);
        if !self.loops.is_empty() && !are_constant {
            let cause =
                "a macro within a macro can only go through lists of constants, both of them";
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
    names.push(root.trim_start_matches('.'));
    names.reverse();
    TYPES.contains(&names.join(".").as_str())
}

fn is_headers(expr: &Expression) -> bool {
    matches!(&expr.expr, Expr::Select(select) if select.field == "headers"
        && matches!(&select.operand.expr, Expr::Ident(name) if name == "request"))
}

fn field_kind(object: Object, name: &str) -> Kind {
    match (object, name) {
        (Object::Request, "segments") | (Object::User, "scopes") => Kind::list(Kind::Text),
        (Object::Request, "headers") => Kind::map(Kind::Text, Kind::Text),
        (Object::Request, "query") => Kind::map(Kind::Text, Kind::list(Kind::Text)),
        (Object::Request, "time") => Kind::Time,
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
