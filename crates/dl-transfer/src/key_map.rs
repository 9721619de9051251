//! From a file's names to ours, as a table that can be compared with a listing.

use crate::error::Error;

/// A table of rules: name in the file → our name, or `None` for what is dropped on purpose.
///
/// In a rule `*` stands for any text, dots included and as short as the rest allows, and `#` for a
/// number. The right side repeats the left side's wildcards in their order. Rules without wildcards
/// come first, then the others in the order of the table; a name that no rule fits keeps its name.
///
/// ```
/// use dl_transfer::KeyMap;
/// let map = KeyMap::new(&[
///     ("module.*", Some("*")),
///     ("layer#.*.bn.*", Some("stage.#.*.norm.*")),
///     ("*.num_batches_tracked", None),
/// ])?;
/// assert_eq!(map.target("module.fc.bias").as_deref(), Some("fc.bias"));
/// assert_eq!(map.target("layer2.0.bn.weight").as_deref(), Some("stage.2.0.norm.weight"));
/// assert_eq!(map.target("bn.num_batches_tracked"), None);
/// assert_eq!(map.target("fc.bias").as_deref(), Some("fc.bias"));
/// # Ok::<(), dl_transfer::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeyMap {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    from: String,
    to: Option<String>,
}

impl KeyMap {
    /// Every name stays as it is in the file.
    pub fn identity() -> Self {
        Self::default()
    }

    /// A map from a table. An error if a right side has a wildcard without a partner on the left.
    pub fn new(table: &[(&str, Option<&str>)]) -> Result<Self, Error> {
        let rules: Result<Vec<_>, _> = table
            .iter()
            .map(|(from, to)| Rule::new(from, *to))
            .collect();
        let mut rules = rules?;
        // Stable: each kind keeps the order of the table.
        rules.sort_by_key(|rule| rule.from.contains(is_wildcard));
        Ok(Self { rules })
    }

    /// Our name for a name of the file; `None` if it is dropped on purpose.
    pub fn target(&self, name: &str) -> Option<String> {
        for rule in &self.rules {
            if let Some(captures) = captures(&rule.from, name) {
                return rule.to.as_ref().map(|to| fill(to, &rule.from, &captures));
            }
        }
        Some(name.to_string())
    }
}

impl Rule {
    fn new(from: &str, to: Option<&str>) -> Result<Self, Error> {
        let count = |text: &str, wildcard| text.chars().filter(|c| *c == wildcard).count();
        let more = |to: &str, wildcard| count(to, wildcard) > count(from, wildcard);
        match to {
            Some(to) if more(to, '*') || more(to, '#') => Err(Error::BadRule {
                from: from.to_string(),
                to: to.to_string(),
            }),
            _ => Ok(Self {
                from: from.to_string(),
                to: to.map(str::to_string),
            }),
        }
    }
}

/// Whether a name fits a pattern with the wildcards of a [`KeyMap`].
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    captures(pattern, name).is_some()
}

fn is_wildcard(c: char) -> bool {
    matches!(c, '*' | '#')
}

/// What the wildcards of `pattern` stand for in `name`, in order.
fn captures<'n>(pattern: &str, name: &'n str) -> Option<Vec<&'n str>> {
    let Some(at) = pattern.find(is_wildcard) else {
        return (pattern == name).then(Vec::new);
    };
    let rest = name.strip_prefix(&pattern[..at])?;
    let after = &pattern[at + 1..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    // A number is taken whole; text as short as what follows allows.
    let mut ends: Box<dyn Iterator<Item = usize>> = match pattern.as_bytes().get(at) {
        Some(b'#') => Box::new((digits > 0).then_some(digits).into_iter()),
        _ if after.is_empty() => Box::new(std::iter::once(rest.len())),
        _ => Box::new((0..=rest.len()).filter(|&end| rest.is_char_boundary(end))),
    };
    ends.find_map(|end| {
        let mut found = captures(after, &rest[end..])?;
        found.insert(0, &rest[..end]);
        Some(found)
    })
}

/// The right side with its wildcards filled: the n-th `*` by what the n-th `*` stood for, and
/// likewise for `#`.
fn fill(to: &str, from: &str, captures: &[&str]) -> String {
    let of = |wildcard| {
        let kinds = from.chars().filter(|c| is_wildcard(*c)).zip(captures);
        kinds
            .filter(move |(kind, _)| *kind == wildcard)
            .map(|(_, text)| *text)
    };
    let (mut texts, mut numbers) = (of('*'), of('#'));
    let mut name = String::new();
    for c in to.chars() {
        match c {
            '*' => name.push_str(texts.next().unwrap_or_default()),
            '#' => name.push_str(numbers.next().unwrap_or_default()),
            _ => name.push(c),
        }
    }
    name
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_rule_wins_over_an_earlier_pattern() {
        let map = KeyMap::new(&[("fc.*", None), ("fc.weight", Some("head.weight"))]).unwrap();
        assert_eq!(map.target("fc.weight").as_deref(), Some("head.weight"));
        assert_eq!(map.target("fc.bias"), None);
    }

    #[test]
    fn numbers_are_taken_whole_and_never_from_letters() {
        let map = KeyMap::new(&[("h.#.attn", Some("layer.#.attention"))]).unwrap();
        assert_eq!(
            map.target("h.11.attn").as_deref(),
            Some("layer.11.attention")
        );
        assert_eq!(map.target("h.x.attn").as_deref(), Some("h.x.attn"));
        assert_eq!(map.target("h.1x.attn").as_deref(), Some("h.1x.attn"));
    }

    #[test]
    fn stars_back_off_until_the_whole_name_fits() {
        // The first `*` must not stop at the first `.a`.
        assert!(fits("*.a", "x.a.b.a"));
        assert!(!fits("*.a", "x.a.b"));
        assert!(fits("*", ""));
    }

    #[test]
    fn a_right_side_with_an_unpaired_wildcard_is_refused() {
        let error = KeyMap::new(&[("fc", Some("head.*"))]).unwrap_err();
        assert!(matches!(error, Error::BadRule { .. }));
    }
}
