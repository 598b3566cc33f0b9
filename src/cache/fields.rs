//! A technique's fields as a table, and the values that they are set to.
//!
//! Fields go by diffusers' names where diffusers has them. A technique lists its fields once,
//! each as a name and a [`Slot`]: what kind of value it is, and where it is kept. Setters by name,
//! JSON in both directions and statistics all work from that list, so a field is one line, and
//! a technique's own file is the only place that knows what fields it has.

use super::callbacks::{LayerCallback, StepCallback};
use super::schedule::{check_identifiers, Window};
use crate::runtime::number::Short;
use crate::{Error, Result};
use serde_json::{json, Value as Json};

/// What a field is set to.
#[derive(Debug, Clone)]
pub enum Value {
    /// Compute every `n`th time.
    SkipRange(i64),
    /// `(low, high)`, both outside: the field acts while `low < timestep < high`.
    TimestepRange(i64, i64),
    Number(f64),
    Flag(bool),
    Name(String),
    /// Regular expressions over the modules' checkpoint names.
    Identifiers(Vec<String>),
    /// `None` takes the callback away again.
    StepCallback(Option<StepCallback>),
    LayerCallback(Option<LayerCallback>),
    /// Whatever JSON value the field is written as.
    Json(Json),
}

impl Value {
    fn kind(&self) -> String {
        let kind = match self {
            Value::SkipRange(_) => "a skip range",
            Value::TimestepRange(..) => "a timestep range",
            Value::Number(_) => "a number",
            Value::Flag(_) => "a flag",
            Value::Name(_) => "a name",
            Value::Identifiers(_) => "identifiers",
            Value::StepCallback(_) => "a callback per step",
            Value::LayerCallback(_) => "a callback per layer",
            Value::Json(json) => return shortened(&json.to_string()),
        };
        kind.to_string()
    }

    fn json(&self) -> Option<&Json> {
        match self {
            Value::Json(json) => Some(json),
            _ => None,
        }
    }

    /// As a whole number, from whatever holds one.
    fn integer(&self) -> Option<i64> {
        match self {
            Value::SkipRange(n) => Some(*n),
            Value::Number(x) if x.fract() == 0.0 && x.abs() < 9e15 => Some(*x as i64),
            Value::Json(json) => json.as_i64().or_else(|| Value::Number(json.as_f64()?).integer()),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Value::Number(x) => Some(*x),
            Value::Json(json) => json.as_f64(),
            _ => None,
        }
    }

    fn strings(&self) -> Option<Vec<String>> {
        match self {
            Value::Identifiers(strings) => Some(strings.clone()),
            Value::Json(Json::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_string)).collect()
            }
            _ => None,
        }
    }

    fn window(&self) -> Option<Window> {
        match self {
            Value::TimestepRange(low, high) => Some(Window::Timesteps { low: *low, high: *high }),
            Value::Json(json) => Window::from_json(json),
            _ => None,
        }
    }
}

/// The most characters of a host's text that a message repeats.
const MOST_REPEATED: usize = 200;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_REPEATED) {
        None => text.to_string(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// A field of a technique.
pub(super) struct Field<'a> {
    pub name: &'static str,
    pub slot: Slot<'a>,
}

/// Where a field is kept, which says what it can be set to.
pub(super) enum Slot<'a> {
    /// A whole number from 1 on.
    SkipRange(&'a mut u32),
    /// The same; unset by default.
    OptionalSkipRange(&'a mut Option<u32>),
    /// A whole number in a range, both ends included.
    Count(&'a mut u32, u32, u32),
    /// The same; unset by default.
    OptionalCount(&'a mut Option<u32>, u32, u32),
    TimestepRange(&'a mut Window),
    /// A number that float32 can hold, in a range, both ends included.
    Number(&'a mut f64, f64, f64),
    /// Such numbers.
    Numbers(&'a mut Vec<f64>),
    Flag(&'a mut bool),
    Choice(&'a mut &'static str, &'static [&'static str]),
    Identifiers(&'a mut Vec<String>),
    StepCallback(&'a mut Option<StepCallback>),
    LayerCallback(&'a mut Option<LayerCallback>),
    /// A list of strings with a form of its own, which the technique checks.
    Strings(&'a mut Vec<String>, fn(&[String]) -> std::result::Result<(), String>),
    /// Something that reads and writes itself.
    Written(&'a mut dyn Written),
}

/// A field's value with a JSON form of its own.
pub(super) trait Written {
    /// Errors: [`Error::InvalidArgument`]; nothing is changed then.
    fn read(&mut self, json: &Json) -> Result<()>;

    fn write(&self) -> Json;
}

/// A field of any finite number.
pub(super) fn any_number(place: &mut f64) -> Slot<'_> {
    Slot::Number(place, f64::from(f32::MIN), f64::from(f32::MAX))
}

impl Field<'_> {
    /// Sets the field. Errors: [`Error::InvalidArgument`] that names the field, what it expects
    /// and what it was given; the field then keeps its value.
    pub fn set(self, value: Value) -> Result<()> {
        let name = self.name;
        self.slot.set(name, value)
    }
}

impl Slot<'_> {
    fn set(self, name: &str, value: Value) -> Result<()> {
        let unlike = |expected: &str| {
            Error::InvalidArgument(format!("{name}: expected {expected}, found {}", value.kind()))
        };
        let null = matches!(value, Value::Json(Json::Null));
        match self {
            Slot::OptionalSkipRange(place) if null => *place = None,
            Slot::OptionalCount(place, ..) if null => *place = None,
            Slot::SkipRange(place) => *place = skip_range(name, &value)?,
            Slot::OptionalSkipRange(place) => *place = Some(skip_range(name, &value)?),
            Slot::Count(place, low, high) => *place = whole(name, &value, low, high)?,
            Slot::OptionalCount(place, low, high) => {
                *place = Some(whole(name, &value, low, high)?);
            }
            Slot::TimestepRange(place) => {
                let window = value.window().ok_or_else(|| unlike("a timestep range"))?;
                match window {
                    // Both bounds are outside, so (100, 101) holds no whole timestep either.
                    Window::Timesteps { low, high } if high.saturating_sub(low) < 2 => {
                        return Err(Error::InvalidArgument(format!(
                            "{name}: expected (low, high) with a timestep strictly between, \
                             found ({low}, {high})"
                        )))
                    }
                    window => *place = window,
                }
            }
            Slot::Number(place, low, high) => {
                let number = value.number().ok_or_else(|| unlike("a number"))?;
                *place = within(name, number, low, high)?;
            }
            Slot::Numbers(place) => {
                let items = value.json().and_then(Json::as_array);
                let numbers: Option<Vec<f64>> =
                    items.and_then(|items| items.iter().map(Json::as_f64).collect());
                let numbers = numbers.ok_or_else(|| unlike("a list of numbers"))?;
                let (low, high) = (f64::from(f32::MIN), f64::from(f32::MAX));
                *place = numbers
                    .into_iter()
                    .map(|number| within(name, number, low, high))
                    .collect::<Result<_>>()?;
            }
            Slot::Flag(place) => {
                *place = match &value {
                    Value::Flag(flag) => *flag,
                    Value::Json(Json::Bool(flag)) => *flag,
                    _ => return Err(unlike("a flag")),
                };
            }
            Slot::Choice(place, choices) => {
                let found = match &value {
                    Value::Name(name) => name.as_str(),
                    Value::Json(Json::String(name)) => name,
                    _ => return Err(unlike("a name")),
                };
                *place =
                    choices.iter().copied().find(|choice| *choice == found).ok_or_else(|| {
                        Error::InvalidArgument(format!(
                            "{name}: expected one of {choices:?}, found {:?}",
                            shortened(found)
                        ))
                    })?;
            }
            Slot::Identifiers(place) => {
                let identifiers = value.strings().ok_or_else(|| unlike("identifiers"))?;
                check_identifiers(name, &identifiers)?;
                *place = identifiers;
            }
            Slot::Strings(place, check) => {
                let strings = value.strings().ok_or_else(|| unlike("a list of strings"))?;
                check(&strings)
                    .map_err(|problem| Error::InvalidArgument(format!("{name}: {problem}")))?;
                *place = strings;
            }
            Slot::Written(place) => {
                let json = value.json().ok_or_else(|| unlike("a value as JSON"))?;
                place.read(json).map_err(|error| match error {
                    Error::InvalidArgument(text) => {
                        Error::InvalidArgument(format!("{name}: {text}"))
                    }
                    other => other,
                })?;
            }
            Slot::StepCallback(place) => match value {
                Value::StepCallback(callback) => *place = callback,
                _ => return Err(unlike("a callback per step")),
            },
            Slot::LayerCallback(place) => match value {
                Value::LayerCallback(callback) => *place = callback,
                _ => return Err(unlike("a callback per layer")),
            },
        }
        Ok(())
    }

    /// The value as JSON; callbacks, which can't be written, as the word "callback".
    pub fn to_json(&self) -> Json {
        let callback = |set: bool| if set { json!("callback") } else { Json::Null };
        match self {
            Slot::SkipRange(n) | Slot::Count(n, ..) => json!(n),
            Slot::OptionalSkipRange(n) | Slot::OptionalCount(n, ..) => json!(n),
            Slot::TimestepRange(window) => window.to_json(),
            Slot::Number(x, ..) => json!(x),
            Slot::Numbers(numbers) => json!(numbers),
            Slot::Flag(flag) => json!(flag),
            Slot::Choice(choice, _) => json!(choice),
            Slot::Identifiers(strings) | Slot::Strings(strings, _) => json!(strings),
            Slot::Written(written) => written.write(),
            Slot::StepCallback(found) => callback(found.is_some()),
            Slot::LayerCallback(found) => callback(found.is_some()),
        }
    }

    /// It holds a callback: nothing that a file can say.
    pub fn is_callback(&self) -> bool {
        matches!(self, Slot::StepCallback(_) | Slot::LayerCallback(_))
    }
}

fn skip_range(name: &str, value: &Value) -> Result<u32> {
    let unlike =
        || Error::InvalidArgument(format!("{name}: expected a skip range, found {}", value.kind()));
    let n = value.integer().ok_or_else(unlike)?;
    u32::try_from(n).ok().filter(|&n| n > 0).ok_or_else(|| {
        Error::InvalidArgument(format!(
            "{name}: expected a whole number from 1 to {}, found {n}",
            u32::MAX
        ))
    })
}

fn whole(name: &str, value: &Value, low: u32, high: u32) -> Result<u32> {
    let unlike = || {
        Error::InvalidArgument(format!(
            "{name}: expected a whole number from {low} to {high}, found {}",
            value.kind()
        ))
    };
    let n = value.integer().ok_or_else(unlike)?;
    u32::try_from(n).ok().filter(|n| (low..=high).contains(n)).ok_or_else(|| {
        Error::InvalidArgument(format!(
            "{name}: expected a whole number from {low} to {high}, found {n}"
        ))
    })
}

fn within(name: &str, number: f64, low: f64, high: f64) -> Result<f64> {
    if (low..=high).contains(&number) {
        return Ok(number);
    }
    let all = low <= f64::from(f32::MIN) && high >= f64::from(f32::MAX);
    let expected = if all {
        "a finite number".to_string()
    } else {
        format!("a number from {} to {}", Short(low), Short(high))
    };
    Err(Error::InvalidArgument(format!("{name}: expected {expected}, found {number:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(slot: Slot<'_>, value: Value) -> String {
        Field { name: "field", slot }.set(value).expect_err("refused").to_string()
    }

    fn round_trip<T>(mut place: T, slot: impl for<'a> Fn(&'a mut T) -> Slot<'a>, json: Json) {
        let field = Field { name: "field", slot: slot(&mut place) };
        field.set(Value::Json(json.clone())).expect("set");
        assert_eq!(slot(&mut place).to_json(), json);
    }

    #[test]
    fn every_kind_of_field_is_set_by_json_and_read_back() {
        let window = Window::Timesteps { low: -1, high: 681 };
        round_trip(2, |n| Slot::SkipRange(n), json!(3));
        round_trip(None, |n| Slot::OptionalSkipRange(n), json!(7));
        round_trip(Some(7), |n| Slot::OptionalSkipRange(n), json!(null));
        round_trip(2, |n| Slot::Count(n, 0, 9), json!(9));
        round_trip(0.5, any_number, json!(0.25));
        round_trip(false, |flag| Slot::Flag(flag), json!(true));
        round_trip("a", |choice| Slot::Choice(choice, &["a", "b"]), json!("b"));
        round_trip(vec![], |strings| Slot::Identifiers(strings), json!(["x", "y"]));
        round_trip(vec![], |numbers| Slot::Numbers(numbers), json!([1.0, 0.5]));
        round_trip(window, |window| Slot::TimestepRange(window), json!([100, 800]));
        round_trip(window, |window| Slot::TimestepRange(window), json!("steps 18 to 40 of 50"));
    }

    #[test]
    fn what_does_not_fit_is_named_and_changes_nothing() {
        let mut n = 2;
        assert_eq!(
            message(Slot::SkipRange(&mut n), Value::SkipRange(0)),
            "field: expected a whole number from 1 to 4294967295, found 0"
        );
        assert_eq!(
            message(Slot::SkipRange(&mut n), Value::Json(json!("two"))),
            "field: expected a skip range, found \"two\""
        );
        assert_eq!(n, 2);
        let mut x = 0.5;
        assert_eq!(
            message(any_number(&mut x), Value::Number(1e300)),
            "field: expected a finite number, found 1e300"
        );
        assert_eq!(
            message(Slot::Number(&mut x, 0.0, 1.0), Value::Json(json!(1.5))),
            "field: expected a number from 0 to 1, found 1.5"
        );
        let long = message(Slot::Flag(&mut false), Value::Json(json!("x".repeat(1000))));
        assert!(long.len() < 300, "{long}");
    }
}
