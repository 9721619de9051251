//! The fields of a configuration in one list.

use serde_json::Value;

/// Every value with the names that lead to it, joined by dots: `{"a": {"b": 1}}` is `a.b`, `1`. Lists
/// of plain values are one value; a value that is no object has the name `value`.
pub(crate) fn dotted(value: &Value) -> Vec<(String, String)> {
    let mut found = vec![];
    collect("", value, &mut found);
    found
}

fn collect(name: &str, value: &Value, found: &mut Vec<(String, String)>) {
    let below = |key: &str| match name {
        "" => key.to_string(),
        name => format!("{name}.{key}"),
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                collect(&below(key), value, found);
            }
        }
        Value::Array(items) if items.iter().any(|i| i.is_object() || i.is_array()) => {
            for (n, item) in items.iter().enumerate() {
                collect(&below(&n.to_string()), item, found);
            }
        }
        plain => {
            let name = if name.is_empty() { "value" } else { name };
            found.push((name.to_string(), shown(plain)));
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_lead_to_their_values() {
        let config =
            json!({"lr": 0.1, "adam": {"betas": [0.9, 0.999]}, "b": [{"c": null}], "d": {}});
        let wanted = [
            ("lr", "0.1"),
            ("adam.betas", "0.9, 0.999"),
            ("b.0.c", "none"),
            ("d", "{}"),
        ];
        let wanted = wanted.map(|(k, v)| (k.to_string(), v.to_string()));
        assert_eq!(dotted(&config), wanted);
        assert_eq!(dotted(&json!(7))[0].0, "value");
    }
}
