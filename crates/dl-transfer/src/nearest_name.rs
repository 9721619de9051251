//! The most similar name, for messages.

/// The candidate with the smallest edit distance, if it is similar at all: at most half of the
/// wanted name's letters differ.
pub(crate) fn nearest_name<'a>(
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let limit = wanted.chars().count() / 2;
    let scored = candidates
        .into_iter()
        .map(|name| (edit_distance(wanted, name), name));
    let (distance, name) = scored.min()?;
    (distance <= limit).then(|| name.to_string())
}

/// Levenshtein's distance: insertions, deletions and substitutions.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_single_letter_edits() {
        // The textbook pair: two substitutions and one insertion.
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }

    #[test]
    fn an_unlike_name_is_not_suggested() {
        let names = ["fc.weight", "encoder.layer.0.bias"];
        assert_eq!(
            nearest_name("_fc.weight", names).as_deref(),
            Some("fc.weight")
        );
        assert_eq!(nearest_name("zzzzzz", names), None);
    }
}
