//! Named numbers as JSON, which has no word for NaN and infinity.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;

/// Numbers by name; those that are not finite are strings in JSON: `"NaN"`, `"inf"`, `"-inf"`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Values(pub(crate) BTreeMap<String, f64>);

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, &value)| {
            let value = match value.is_finite() {
                true => Value::from(value),
                false => Value::from(value.to_string()),
            };
            (name, value)
        }))
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = BTreeMap::<String, Value>::deserialize(deserializer)?;
        let read = raw.into_iter().map(|(name, value)| {
            let number = match &value {
                Value::String(text) => text.parse().ok(),
                other => other.as_f64(),
            };
            let number =
                number.ok_or_else(|| D::Error::custom(format!("`{name}` is {value}, no number")));
            Ok((name, number?))
        });
        read.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_number_comes_back_with_its_bits() {
        let numbers = [
            0.1 + 0.2,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            5e-324,
            1e300,
        ];
        let values = numbers.iter().enumerate().map(|(i, &x)| (i.to_string(), x));
        let values = Values(values.collect());
        let text = serde_json::to_string(&values).unwrap();
        let read: Values = serde_json::from_str(&text).unwrap();
        for (a, b) in values.0.values().zip(read.0.values()) {
            assert_eq!(a.to_bits(), b.to_bits());
        }
        let nan: Values = serde_json::from_str(r#"{"loss":"NaN"}"#).unwrap();
        assert!(nan.0["loss"].is_nan());
        let error = serde_json::from_str::<Values>(r#"{"loss":[]}"#).unwrap_err();
        assert!(error.to_string().contains("`loss` is [], no number"));
    }
}
