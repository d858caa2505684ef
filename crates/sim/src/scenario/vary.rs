//! Changes of single settings of a scenario, for sweeps and for `--set`.

use toml::{Table, Value};

use super::ScenarioError;

/// A setting and its values in a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Variation {
    /// The setting, as a path: `peers`, `network.loss`, `load.0.rate`.
    pub path: String,
    /// Its values, in the given order.
    pub values: Vec<Value>,
}

impl core::str::FromStr for Variation {
    type Err = String;

    /// Parses `network.loss=0,0.01,0.05` or `broadcast=trees,flood`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (path, values) = text.split_once('=').ok_or_else(|| {
            format!("{text:?} names no value: write it as network.loss=0,0.01,0.05")
        })?;
        let values: Vec<Value> = values.split(',').map(|v| value(v.trim())).collect();
        Ok(Variation { path: path.trim().to_owned(), values })
    }
}

/// Parses a value as TOML, or takes it as a string.
fn value(text: &str) -> Value {
    let read: Result<Table, _> = format!("v = {text}").parse();
    read.ok().and_then(|mut t| t.remove("v")).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Sets the value at a path. Missing tables are created; a number in the path is an index of a
/// list.
///
/// # Errors
/// The path contains a key that does not exist in its list or value.
pub fn set(table: &mut Table, path: &str, to: Value) -> Result<(), ScenarioError> {
    let wrong = |at: &str| {
        ScenarioError::Form(format!("{path}: there is no {at:?} in the scenario to set a value in"))
    };
    let mut keys: Vec<&str> = path.split('.').collect();
    let last = keys.pop().filter(|k| !k.is_empty()).ok_or_else(|| wrong(path))?;
    let (mut here, mut keys) = (table, keys.into_iter().peekable());
    while let Some(key) = keys.next() {
        let next = here.entry(key).or_insert_with(|| Value::Table(Table::new()));
        here = match next {
            Value::Table(t) => t,
            Value::Array(list) => {
                let index = keys.next().and_then(|k| k.parse::<usize>().ok());
                let entry = index.and_then(|i| list.get_mut(i));
                entry.and_then(Value::as_table_mut).ok_or_else(|| wrong(key))?
            }
            _ => return Err(wrong(key)),
        };
    }
    here.insert(last.to_owned(), to);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_set_at_its_path() {
        let mut t: Table = "peers = 5\n[[load]]\nrate = 1".parse().unwrap();
        set(&mut t, "peers", Value::Integer(9)).unwrap();
        set(&mut t, "network.loss", Value::Float(0.5)).unwrap();
        set(&mut t, "load.0.rate", Value::Integer(7)).unwrap();
        assert_eq!(t["peers"].as_integer(), Some(9));
        assert_eq!(t["network"]["loss"].as_float(), Some(0.5));
        assert_eq!(t["load"][0]["rate"].as_integer(), Some(7));
        assert!(set(&mut t, "load.1.rate", Value::Integer(7)).is_err());
        assert!(set(&mut t, "peers.x", Value::Integer(7)).is_err());
    }

    #[test]
    fn sweep_is_parsed() {
        let v: Variation = "broadcast=trees, flood".parse().unwrap();
        assert_eq!(v.values, [Value::String("trees".into()), Value::String("flood".into())]);
        let v: Variation = "network.loss=0,0.01".parse().unwrap();
        assert_eq!(v.values, [Value::Integer(0), Value::Float(0.01)]);
        assert!("peers".parse::<Variation>().is_err());
    }
}
