//! One folder of images for each class.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::decode::read_rgb;
use super::{DataError, Dataset, Labelled, Sample};

const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// `root/class/**/image.{png,jpg,jpeg,webp}`, decoded to red, green and blue when asked for.
///
/// Classes are numbered by their sorted names, and images follow class by class sorted by path, as
/// in torchvision. Extensions count in any case. Unlike torchvision, files and folders whose names
/// begin with a dot are passed over, and a folder that links lead to twice is read once.
///
/// ```no_run
/// use dl_core::data::{Dataset, ImageFolder, Labelled};
/// let pets = ImageFolder::open("pets")?; // pets/cat/1.jpg, pets/dog/1.jpg, pets/dog/2.png
/// assert_eq!(pets.class_names(), ["cat", "dog"]);
/// assert_eq!(pets.len(), 3);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    paths: Vec<PathBuf>,
    labels: Vec<u32>,
    class_names: Vec<String>,
}

impl ImageFolder {
    /// Lists the classes and their images.
    ///
    /// Fails when the folder is missing or no folder, has no class folders, or when a class folder
    /// has no image: each error names the folder.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, DataError> {
        let root = root.as_ref();
        let (mut paths, mut labels, mut class_names) = (Vec::new(), Vec::new(), Vec::new());
        for (label, folder) in (0_u32..).zip(class_folders(root)?) {
            let found = images_below(&folder)?;
            labels.resize(labels.len() + found.len(), label);
            paths.extend(found);
            class_names.push(display_name(&folder));
        }
        Ok(Self {
            paths,
            labels,
            class_names,
        })
    }

    /// The file of every item.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

fn class_folders(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    let path = root.to_owned();
    match fs::metadata(root) {
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => {
            return Err(DataError::MissingFolder { path });
        }
        Err(reason) => return Err(DataError::Read { path, reason }),
        Ok(found) if !found.is_dir() => return Err(DataError::NotAFolder { path }),
        Ok(_) => {}
    }
    let mut folders = entries(root)?;
    folders.retain(|entry| entry.is_dir());
    if folders.is_empty() {
        return Err(DataError::NoClassFolders { path });
    }
    Ok(folders)
}

fn images_below(class: &Path) -> Result<Vec<PathBuf>, DataError> {
    let (mut images, mut seen) = (Vec::new(), HashSet::new());
    let mut folders = vec![class.to_owned()];
    while let Some(folder) = folders.pop() {
        let real = fs::canonicalize(&folder).map_err(DataError::read(&folder))?;
        if seen.insert(real) {
            let (inner, files): (Vec<_>, Vec<_>) =
                entries(&folder)?.into_iter().partition(|e| e.is_dir());
            folders.extend(inner);
            images.extend(files.into_iter().filter(|file| is_image(file)));
        }
    }
    if images.is_empty() {
        let path = class.to_owned();
        return Err(DataError::EmptyClass { path });
    }
    images.sort_unstable();
    Ok(images)
}

/// What a folder holds, sorted by name, without what begins with a dot.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::read(folder))? {
        let entry = entry.map_err(DataError::read(folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn display_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or(folder.as_os_str());
    name.to_string_lossy().into_owned()
}

impl Dataset for ImageFolder {
    type Item = Sample;

    fn len(&self) -> usize {
        self.paths.len()
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let len = self.len();
        let (Some(path), Some(&label)) = (self.paths.get(index), self.labels.get(index)) else {
            return Err(DataError::OutOfRange { index, len });
        };
        Ok(Sample {
            image: read_rgb(path)?,
            label,
            source: self.name(index),
        })
    }

    fn name(&self, index: usize) -> String {
        match self.paths.get(index) {
            Some(path) => path.display().to_string(),
            None => format!("#{index}"),
        }
    }
}

impl Labelled for ImageFolder {
    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}
