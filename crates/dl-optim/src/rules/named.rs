//! Rules by the name that configs and files use.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{AdEmaMix, AdaBelief, Adan, Ftrl, Lamb, Lars, MadGrad, NovoGrad, Yogi};
use super::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Asgd, Lion, Momentum, Muon, NAdam, RAdam,
    RmsProp, Rprop, Sgd, SignSgd, SparseAdam,
};
use super::{Adam8bit, AdamW8bit, DAdaptAdam, DAdaptSgd, Prodigy};
use super::{AdamWScheduleFree, Came, Cautious, SgdScheduleFree, Sophia};
#[cfg(feature = "spectral")]
use super::{GaLore, Shampoo, Soap};
use crate::{Error, Result, Rule};

macro_rules! rules {
    ($($(#[$when:meta])? $name:literal => $rule:ident,)*) => {
        /// Every name that [`rule_named`] takes.
        pub const RULES: &[&str] = &[$($(#[$when])? $name),*];

        fn read_named(name: &str, options: Value) -> Result<Box<dyn Rule>> {
            match name {
                $($(#[$when])? $name => read::<$rule>(name, options),)*
                _ => Err(Error::UnknownName {
                    kind: "rule",
                    name: name.to_string(),
                    known: RULES.to_vec(),
                }),
            }
        }
    };
}

rules! {
    "adadelta" => Adadelta,
    "adafactor" => Adafactor,
    "adagrad" => Adagrad,
    "adam" => Adam,
    "adamax" => Adamax,
    "adamw" => AdamW,
    "asgd" => Asgd,
    "lion" => Lion,
    "momentum" => Momentum,
    "muon" => Muon,
    "nadam" => NAdam,
    "radam" => RAdam,
    "rmsprop" => RmsProp,
    "rprop" => Rprop,
    "sgd" => Sgd,
    "sign_sgd" => SignSgd,
    "sparse_adam" => SparseAdam,
    "adamw_schedule_free" => AdamWScheduleFree,
    "came" => Came,
    "sophia" => Sophia,
    "adam8bit" => Adam8bit,
    "adamw8bit" => AdamW8bit,
    "dadapt_adam" => DAdaptAdam,
    "dadapt_sgd" => DAdaptSgd,
    #[cfg(feature = "spectral")]
    "galore" => GaLore,
    "prodigy" => Prodigy,
    #[cfg(feature = "spectral")]
    "shampoo" => Shampoo,
    #[cfg(feature = "spectral")]
    "soap" => Soap,
    "sgd_schedule_free" => SgdScheduleFree,
    "adabelief" => AdaBelief,
    "adan" => Adan,
    "ademamix" => AdEmaMix,
    "ftrl" => Ftrl,
    "lamb" => Lamb,
    "lars" => Lars,
    "madgrad" => MadGrad,
    "novograd" => NovoGrad,
    "yogi" => Yogi,
}

/// The rule of this name with these options; options that are left out have their defaults.
///
/// Rules with a momentum take `"cautious": true` too; see [`Cautious`].
///
/// Fails on an unknown name, an unknown option and a value outside its range.
///
/// ```
/// let rule = dl_optim::rule_named("adamw", serde_json::json!({"lr": 5e-5}))?;
/// assert_eq!((rule.basics().lr, rule.basics().weight_decay), (5e-5, 0.01));
/// # Ok::<(), dl_optim::Error>(())
/// ```
pub fn rule_named(name: &str, options: Value) -> Result<Box<dyn Rule>> {
    let (cautious, options) = without_caution(name, options)?;
    let rule = read_named(name, options)?;
    let rule = match cautious {
        true => Cautious::new(rule).into(),
        false => rule,
    };
    rule.validate()?;
    Ok(rule)
}

/// The option that every rule has, and the rule's own.
fn without_caution(name: &str, mut options: Value) -> Result<(bool, Value)> {
    let cautious = options
        .as_object_mut()
        .and_then(|options| options.remove("cautious"));
    let cautious = cautious.map(serde_json::from_value).transpose();
    let cautious = cautious.map_err(|source| Error::UnreadableOptions {
        owner: name.to_string(),
        source,
    })?;
    Ok((cautious.unwrap_or(false), options))
}

fn read<R: Rule + DeserializeOwned + 'static>(name: &str, options: Value) -> Result<Box<dyn Rule>> {
    let rule: R = serde_json::from_value(options).map_err(|source| Error::UnreadableOptions {
        owner: name.to_string(),
        source,
    })?;
    Ok(Box::new(rule))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn every_name_gives_a_rule_of_that_name_and_its_options_read_back() {
        for &name in RULES {
            let rule = rule_named(name, json!({"lr": 0.125})).unwrap();
            let again = rule_named(name, rule.options()).unwrap();
            assert_eq!((rule.basics().name, rule.basics().lr), (name, 0.125));
            assert_eq!(rule.options(), again.options());
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = rule_named("adaw", json!({})).unwrap_err().to_string();
        let text = format!("no rule is called `adaw`; known are {}", RULES.join(", "));
        assert_eq!(error, text);
    }

    #[test]
    fn an_unknown_option_is_refused_by_every_rule() {
        for &name in RULES {
            let error = rule_named(name, json!({"learning": 1.0}))
                .unwrap_err()
                .to_string();
            assert!(error.contains("learning"), "{name}: {error}");
        }
    }

    #[test]
    fn a_negative_rate_is_refused_by_every_rule() {
        for &name in RULES {
            let error = rule_named(name, json!({"lr": -0.5}))
                .unwrap_err()
                .to_string();
            let ranges =
                [">= 0", "> 0"].map(|range| format!("{name}: `lr` must be {range}, got -0.5"));
            assert!(ranges.contains(&error), "{error}");
        }
    }
}
