//! Files that are either the old one or the new one, whatever happens in between.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Lets `fill` write a sibling of `path`, then puts it in the place of `path`.
///
/// The sibling is synced before it is renamed, and the folder after, so a crash at any moment
/// leaves a whole file under `path`.
pub(crate) fn replace(path: &Path, fill: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let sibling = sibling(path);
    let done = fill(&sibling).and_then(|()| publish(&sibling, path));
    done.map_err(|source| {
        // The first error is the one to report; a sibling that was never made cannot be removed.
        let _ = fs::remove_file(&sibling);
        Error::File {
            path: path.to_path_buf(),
            source,
        }
    })
}

fn publish(sibling: &Path, path: &Path) -> std::io::Result<()> {
    File::options().write(true).open(sibling)?.sync_all()?;
    fs::rename(sibling, path)?;
    sync_folder(path)
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

// Folders cannot be opened for syncing there; the rename itself is journalled.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}

fn sibling(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn listing(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, |sibling| fs::write(sibling, "old")).unwrap();
        let failed = replace(&path, |sibling| {
            fs::write(sibling, "ne")?;
            Err(std::io::Error::other("disk full"))
        });
        assert!(
            failed
                .unwrap_err()
                .to_string()
                .ends_with("state: disk full")
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(listing(folder.path()), ["state"]);
    }

    #[test]
    fn a_path_without_a_file_name_is_an_error() {
        assert!(replace(Path::new("/"), |sibling| fs::write(sibling, "x")).is_err());
    }
}
