//! What a load did, or why it was refused, by name.

use std::collections::BTreeSet;
use std::fmt::{Display, Formatter, Result};

/// Names shown before a list is cut short.
const SHOWN: usize = 3;

/// A tensor the model wants and the file lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The name.
    pub name: String,
    /// The most similar name in the file. Looked for only for the first few that are missing.
    pub nearest: Option<String>,
}

/// A tensor that the file has with another shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The name.
    pub name: String,
    /// The model's shape.
    pub wanted: Vec<usize>,
    /// The file's shape.
    pub found: Vec<usize>,
}

/// What [`load_into`](crate::load_into) did, name by name; every list is sorted.
///
/// After an accepted load `missing` and `unused` are empty, and `mismatched` holds what
/// `ignore_mismatched` let pass. [`Display`] gives a short sentence:
///
/// ```
/// use dl_transfer::LoadReport;
/// let report = LoadReport {
///     loaded: vec!["conv.weight".into()],
///     fresh: vec!["fc.bias".into(), "fc.weight".into()],
///     ..LoadReport::default()
/// };
/// assert_eq!(
///     report.to_string(),
///     "1 tensor loaded; 2 freshly initialised (`fc.bias`, `fc.weight`)"
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Our names that took the file's values.
    pub loaded: Vec<String>,
    /// Our names that keep their fresh values: missing, and allowed to be.
    pub fresh: Vec<String>,
    /// The file's names that were passed over: dropped by the key map, or allowed to be unused.
    pub dropped: Vec<String>,
    /// Our names that the file lacks and the options do not allow to be missing.
    pub missing: Vec<Missing>,
    /// Our names that the file has with another shape.
    pub mismatched: Vec<Mismatch>,
    /// The file's names that the model does not know.
    pub unused: Vec<String>,
}

impl LoadReport {
    /// What does not fit, in one sentence; empty if everything does.
    pub fn problems(&self) -> String {
        let parts = [
            list(&self.missing, |n| format!("{n} missing"), missing_text),
            list(
                &self.mismatched,
                |n| format!("{n} of another shape"),
                mismatch_text,
            ),
            list(
                &self.unused,
                |n| format!("{n} not known to the model"),
                quoted,
            ),
        ];
        join(parts)
    }
}

impl Display for LoadReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let loaded = match self.loaded.len() {
            1 => "1 tensor loaded".to_string(),
            n => format!("{n} tensors loaded"),
        };
        let parts = [
            loaded,
            list(&self.fresh, |n| format!("{n} freshly initialised"), quoted),
            match self.dropped.len() {
                0 => String::new(),
                n => format!("{n} of the file passed over"),
            },
            self.problems(),
        ];
        f.write_str(&join(parts))
    }
}

fn missing_text(missing: &Missing) -> String {
    match &missing.nearest {
        Some(nearest) => format!("`{}`, nearest in the file is `{nearest}`", missing.name),
        None => quoted(&missing.name),
    }
}

fn mismatch_text(mismatch: &Mismatch) -> String {
    let Mismatch {
        name,
        wanted,
        found,
    } = mismatch;
    format!("`{name}` wanted {wanted:?}, the file has {found:?}")
}

fn quoted<S: AsRef<str>>(name: &S) -> String {
    format!("`{}`", name.as_ref())
}

fn join<const N: usize>(parts: [String; N]) -> String {
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("; ")
}

/// `3 missing (`a`, `b`, `c`)`, cut short after [`SHOWN`].
fn list<T>(items: &[T], head: impl Fn(usize) -> String, text: impl Fn(&T) -> String) -> String {
    if items.is_empty() {
        return String::new();
    }
    let shown: Vec<_> = items.iter().take(SHOWN).map(text).collect();
    let more = if items.len() > SHOWN { ", …" } else { "" };
    format!("{} ({}{more})", head(items.len()), shown.join(", "))
}

/// How far a file is from a model that it does not belong to.
///
/// ```
/// use dl_transfer::Comparison;
/// let other = Comparison { wanted: vec!["fc.weight".into()], found: vec!["bn".into()], ..Default::default() };
/// assert_eq!(
///     other.to_string(),
///     "0 of 1 tensors fit; it lacks 1 (`fc.weight`) and has 1 that the model does not know (`bn`)"
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many of the model's tensors the file has with the right shape.
    pub matched: usize,
    /// Names that the model wants and the file lacks.
    pub wanted: Vec<String>,
    /// Tensors that the file has with another shape.
    pub mismatched: Vec<Mismatch>,
    /// Names of the file that the model does not know.
    pub found: Vec<String>,
    /// A prefix that would explain it, as the end of a sentence, or nothing.
    pub hint: String,
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let total = self.matched + self.wanted.len() + self.mismatched.len();
        let lacks = list(&self.wanted, |n| format!("lacks {n}"), quoted);
        let shapes = list(
            &self.mismatched,
            |n| format!("has {n} of another shape"),
            mismatch_text,
        );
        let head = |n| format!("has {n} that the model does not know");
        let has = list(&self.found, head, quoted);
        let parts = [lacks, shapes, has]
            .into_iter()
            .filter(|part| !part.is_empty());
        let parts: Vec<_> = parts.collect();
        let Self { matched, hint, .. } = self;
        write!(
            f,
            "{matched} of {total} tensors fit; it {}{hint}",
            parts.join(" and ")
        )
    }
}

/// A sentence about the prefix that keeps most names apart, or nothing: `module.` of
/// `DataParallel` files is the usual one.
pub(crate) fn prefix_hint(wanted: &BTreeSet<&str>, found: &BTreeSet<&str>) -> String {
    let needed = wanted.len().div_ceil(2).max(1);
    if let Some(prefix) = common_prefix(found, wanted, needed) {
        return format!("; its names fit once the prefix `{prefix}` is taken off");
    }
    match common_prefix(wanted, found, needed) {
        Some(prefix) => format!("; its names fit once the prefix `{prefix}` is put before them"),
        None => String::new(),
    }
}

/// The prefix without which at least `needed` of the `longer` names are `shorter` names.
fn common_prefix<'a>(
    longer: &BTreeSet<&'a str>,
    shorter: &BTreeSet<&str>,
    needed: usize,
) -> Option<&'a str> {
    let mut counts: std::collections::BTreeMap<&str, usize> = Default::default();
    for name in longer {
        for (dot, _) in name.match_indices('.') {
            if shorter.contains(&name[dot + 1..]) {
                *counts.entry(&name[..=dot]).or_default() += 1;
            }
        }
    }
    let (prefix, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count >= needed).then_some(prefix)
}
