//! What a request has to look like, as data: a [`Shape`] is checked against JSON and names the
//! first place that does not fit, in no family's words yet.

use std::fmt::Write as _;

use serde_json::{Map, Value};

pub(super) enum Shape {
    Any,
    Bool,
    Text,
    /// One of these.
    Word(&'static [&'static str]),
    /// From the first to the last.
    Number(f64, f64),
    Whole(i64, i64),
    /// Of any length.
    List(&'static Shape),
    /// An object of names that are not ours.
    Map(&'static Shape),
    /// An object of these names only.
    Object(&'static [Field]),
    /// An object whose first field tells the others.
    Tagged(&'static str, &'static [(&'static str, &'static [Field])]),
    /// The first that fits.
    Either(&'static [Shape]),
}

pub(super) struct Field {
    pub name: &'static str,
    pub needed: bool,
    pub shape: &'static Shape,
}

/// A field that has to be there.
pub(super) const fn must(name: &'static str, shape: &'static Shape) -> Field {
    Field { name, needed: true, shape }
}

/// A field that may be there; null is as good as absent.
pub(super) const fn may(name: &'static str, shape: &'static Shape) -> Field {
    Field { name, needed: false, shape }
}

pub(super) const REAL: Shape = Shape::Number(f64::MIN, f64::MAX);
pub(super) const INTEGER: Shape = Shape::Whole(i64::MIN, i64::MAX);
pub(super) const ANY_OBJECT: Shape = Shape::Map(&Shape::Any);
pub(super) const TEXTS: Shape = Shape::List(&Shape::Text);

/// Where and why a value does not fit.
#[derive(Debug)]
pub(super) struct Misfit {
    pub path: Vec<Step>,
    pub why: Why,
    /// What stands there.
    pub given: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Name(String),
    Index(usize),
    /// Of a map, with its place in it.
    Entry(usize, String),
}

#[derive(Debug)]
pub(super) enum Why {
    Unknown(String),
    Missing(&'static str),
    /// What was wanted.
    Wrong(String),
}

impl Shape {
    pub fn check(&self, value: &Value) -> Result<(), Misfit> {
        match (self, value) {
            (Shape::Any, _) | (Shape::Bool, Value::Bool(_)) | (Shape::Text, Value::String(_)) => {
                Ok(())
            }
            (Shape::Word(words), Value::String(word)) if words.contains(&word.as_str()) => Ok(()),
            (Shape::Number(least, most), _) if within(value, *least, *most) => Ok(()),
            (Shape::Whole(least, most), _)
                if value.as_i64().is_some_and(|n| (*least..=*most).contains(&n)) =>
            {
                Ok(())
            }
            (Shape::List(of), Value::Array(values)) => {
                let mut values = values.iter().enumerate();
                values.try_for_each(|(n, value)| of.check(value).map_err(in_step(Step::Index(n))))
            }
            (Shape::Map(of), Value::Object(object)) => {
                let mut entries = object.iter().enumerate();
                entries.try_for_each(|(n, (name, value))| {
                    of.check(value).map_err(in_step(Step::Entry(n, name.clone())))
                })
            }
            (Shape::Object(fields), Value::Object(object)) => check_fields(fields, None, object),
            (Shape::Tagged(tag, kinds), Value::Object(object)) => {
                check_tagged(tag, kinds, object, value)
            }
            (Shape::Either(shapes), _) => first_fitting(shapes, value),
            _ => Err(misfit(Why::Wrong(self.wanted()), value)),
        }
    }

    fn wanted(&self) -> String {
        match self {
            Shape::Any => "anything".to_owned(),
            Shape::Bool => "boolean".to_owned(),
            Shape::Text => "string".to_owned(),
            Shape::Word(words) => format!("one of {words:?}"),
            Shape::Number(least, most) => format!("number from {least} to {most}"),
            Shape::Whole(least, most) => format!("integer from {least} to {most}"),
            Shape::List(_) => "array".to_owned(),
            Shape::Map(_) | Shape::Object(_) | Shape::Tagged(..) => "object".to_owned(),
            Shape::Either(shapes) => {
                shapes.iter().map(Shape::wanted).collect::<Vec<_>>().join(" or ")
            }
        }
    }
}

fn within(value: &Value, least: f64, most: f64) -> bool {
    value.as_f64().is_some_and(|n| (least..=most).contains(&n))
}

fn check_fields(
    fields: &[Field],
    tag: Option<&str>,
    object: &Map<String, Value>,
) -> Result<(), Misfit> {
    let whole = || Value::Object(object.clone());
    for (name, value) in object.iter().filter(|(name, _)| tag != Some(name.as_str())) {
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            return Err(misfit(Why::Unknown(name.clone()), value));
        };
        if !value.is_null() || field.needed {
            field.shape.check(value).map_err(in_step(Step::Name(name.clone())))?;
        }
    }
    let missing = fields.iter().find(|field| field.needed && !object.contains_key(field.name));
    missing.map_or(Ok(()), |field| Err(misfit(Why::Missing(field.name), &whole())))
}

fn check_tagged(
    tag: &'static str,
    kinds: &[(&str, &[Field])],
    object: &Map<String, Value>,
    value: &Value,
) -> Result<(), Misfit> {
    let Some(given) = object.get(tag) else { return Err(misfit(Why::Missing(tag), value)) };
    let kind = kinds.iter().find(|(kind, _)| given == kind);
    let Some((_, fields)) = kind else {
        let words = kinds.iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
        let wrong = misfit(Why::Wrong(format!("one of {words:?}")), given);
        return Err(in_step(Step::Name(tag.to_owned()))(wrong));
    };
    check_fields(fields, Some(tag), object)
}

/// The misfit of the shape that fitted farthest, should none fit.
fn first_fitting(shapes: &[Shape], value: &Value) -> Result<(), Misfit> {
    let mut misfits = Vec::new();
    for shape in shapes {
        match shape.check(value) {
            Ok(()) => return Ok(()),
            Err(misfit) => misfits.push(misfit),
        }
    }
    let inside = |misfit: &Misfit| misfit.path.len() * 2 + usize::from(!misfit.is_wrong());
    let deepest = misfits.into_iter().max_by_key(inside);
    match deepest.filter(|misfit| inside(misfit) > 0) {
        Some(misfit) => Err(misfit),
        None => {
            let wanted = shapes.iter().map(Shape::wanted).collect::<Vec<_>>();
            Err(misfit(Why::Wrong(wanted.join(" or ")), value))
        }
    }
}

fn misfit(why: Why, given: &Value) -> Misfit {
    Misfit { path: Vec::new(), why, given: given.clone() }
}

fn in_step(step: Step) -> impl FnOnce(Misfit) -> Misfit {
    |mut misfit| {
        misfit.path.insert(0, step);
        misfit
    }
}

impl Misfit {
    fn is_wrong(&self) -> bool {
        matches!(self.why, Why::Wrong(_))
    }

    /// `messages[0].content`
    pub fn place(&self) -> String {
        let mut place = String::new();
        for step in &self.path {
            let dot = if place.is_empty() { "" } else { "." };
            let _ = match step {
                Step::Index(n) => write!(place, "[{n}]"),
                Step::Name(name) | Step::Entry(_, name) => write!(place, "{dot}{name}"),
            };
        }
        place
    }

    /// The place, and behind it the name that is unknown or missing there.
    pub fn full_place(&self) -> String {
        let dot = if self.path.is_empty() { "" } else { "." };
        match &self.why {
            Why::Unknown(name) => format!("{}{dot}{name}", self.place()),
            Why::Missing(name) => format!("{}{dot}{name}", self.place()),
            Why::Wrong(_) => self.place(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    static TREE: Shape = Shape::Object(&[
        must("name", &Shape::Text),
        may("size", &Shape::Whole(1, 9)),
        may("kids", &Shape::List(&TREE)),
        may("by", &Shape::Map(&Shape::Bool)),
        may("part", &Shape::Tagged("type", &[("a", &[must("a", &Shape::Text)]), ("b", &[])])),
        may("either", &Shape::Either(&[Shape::Text, Shape::List(&Shape::Text)])),
    ]);

    #[test]
    fn what_fits_fits_and_the_rest_is_named() {
        let good = json!({
            "name": "x", "size": null, "kids": [{"name": "y", "size": 9}], "by": {"z": true},
            "part": {"type": "a", "a": "b"}, "either": ["x"],
        });
        assert!(TREE.check(&good).is_ok());
        let rows = [
            (json!({}), "name"),
            (json!({"name": null}), "name"),
            (json!({"name": "x", "size": 10}), "size"),
            (json!({"name": "x", "size": 1.5}), "size"),
            (json!({"name": "x", "kids": [{"name": "y", "odd": 1}]}), "kids[0].odd"),
            (json!({"name": "x", "by": {"z": 1}}), "by.z"),
            (json!({"name": "x", "part": {"type": "c"}}), "part.type"),
            (json!({"name": "x", "part": {"type": "b", "a": "b"}}), "part.a"),
            (json!({"name": "x", "part": {}}), "part.type"),
            (json!({"name": "x", "either": 1}), "either"),
            (json!({"name": "x", "either": ["a", 1]}), "either[1]"),
        ];
        for (bad, place) in rows {
            assert_eq!(TREE.check(&bad).unwrap_err().full_place(), place, "{bad}");
        }
    }
}
