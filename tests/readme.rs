//! What the README says is what the repository has.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_program_of_the_readme_is_an_example_that_is_built() {
    let example = read("examples/quickstart.rs");
    let (_, program) = example.split_once("\n\n").unwrap();
    assert!(read("README.md").contains(&format!("```rust\n{program}```")));
}

#[test]
fn every_link_of_the_readme_that_is_a_file_exists() {
    let readme = read("README.md");
    let links = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    let files: Vec<&str> = links
        .map(|(link, _)| link)
        .filter(|l| !l.contains("://"))
        .collect();
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists(),
            "{file}"
        );
    }
}
