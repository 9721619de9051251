//! CIFAR-10 and CIFAR-100 in their binary form.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::idx::find;
use super::{DataError, Dataset, Image, Labelled, Sample, plain_or_gzip};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const PIXELS: usize = 3 * PLANE;

/// Which images of a CIFAR folder.
///
/// ```
/// use dl_core::data::{Cifar, CifarPart};
/// let error = Cifar::cifar10("no/such/folder", CifarPart::Test).unwrap_err();
/// assert!(error.to_string().starts_with("neither test_batch.bin nor test_batch.bin.gz in"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CifarPart {
    /// 50,000 images: `data_batch_1.bin` to `data_batch_5.bin`, or `train.bin` of CIFAR-100.
    Train,
    /// 10,000 images: `test_batch.bin`, or `test.bin` of CIFAR-100.
    Test,
}

/// Which of the two labels of CIFAR-100.
///
/// ```
/// assert_eq!(dl_core::data::CifarLabels::Coarse.classes(), 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CifarLabels {
    /// The class, such as `maple`, out of 100.
    Fine,
    /// The superclass, such as `trees`, out of 20.
    Coarse,
}

impl CifarLabels {
    /// How many there are.
    pub fn classes(self) -> usize {
        match self {
            Self::Fine => 100,
            Self::Coarse => 20,
        }
    }
}

/// Colour images of 32 × 32 and their classes, held in memory.
///
/// ```text
/// CIFAR-10    record = label │ 1024 red │ 1024 green │ 1024 blue              each plane row by row
/// CIFAR-100   record = coarse label │ fine label │ 1024 red │ 1024 green │ 1024 blue
/// ```
///
/// The files may be compressed. Classes have the names of the `.txt` file beside them, else their
/// numbers. Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
///
/// ```
/// use dl_core::data::{Cifar, CifarPart, Dataset, Labelled};
/// # let folder = tempfile::tempdir()?;
/// // Two images, of class 3 and 8, whose n-th value is n and n + 1.
/// let image = |label: u8, first: usize| std::iter::once(label).chain((0..3072).map(move |n| (first + n) as u8));
/// let bytes: Vec<u8> = image(3, 0).chain(image(8, 1)).collect();
/// std::fs::write(folder.path().join("test_batch.bin"), bytes)?;
/// let test = Cifar::cifar10(folder.path(), CifarPart::Test)?;
/// assert_eq!(test.labels(), [3, 8]);
/// // Red, green and blue of row 1, column 5 lie 1024 apart, at 37.
/// assert_eq!(test.get(1)?.image.pixel(1, 5), [38, 38, 38]);
/// assert_eq!(test.get(1)?.image.pixel(5, 1), [162, 162, 162]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cifar {
    files: Vec<CifarFile>,
    labels: Vec<u32>,
    class_names: Vec<String>,
}

/// The records of one file.
#[derive(Clone, Debug)]
struct CifarFile {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Where the pixels of a record begin.
    header: usize,
    /// Images in the files before it.
    first: usize,
}

impl Cifar {
    /// Reads the folder that `cifar-10-binary.tar.gz` holds.
    pub fn cifar10(folder: impl AsRef<Path>, part: CifarPart) -> Result<Self, DataError> {
        let folder = folder.as_ref();
        let train = || (1..=5).map(|n| find(folder, &format!("data_batch_{n}.bin")));
        let paths = match part {
            CifarPart::Train => train().collect::<Result<_, _>>()?,
            CifarPart::Test => vec![find(folder, "test_batch.bin")?],
        };
        let class_names = class_names(folder, "batches.meta.txt", 10)?;
        Self::read(paths, 1, 0, class_names)
    }

    /// Reads the folder that `cifar-100-binary.tar.gz` holds.
    pub fn cifar100(
        folder: impl AsRef<Path>,
        part: CifarPart,
        labels: CifarLabels,
    ) -> Result<Self, DataError> {
        let folder = folder.as_ref();
        let path = match part {
            CifarPart::Train => find(folder, "train.bin")?,
            CifarPart::Test => find(folder, "test.bin")?,
        };
        let (at, names) = match labels {
            CifarLabels::Coarse => (0, "coarse_label_names.txt"),
            CifarLabels::Fine => (1, "fine_label_names.txt"),
        };
        let class_names = class_names(folder, names, labels.classes())?;
        Self::read(vec![path], 2, at, class_names)
    }

    /// `header` bytes of labels before the pixels, of which the one at `at` counts.
    fn read(
        paths: Vec<PathBuf>,
        header: usize,
        at: usize,
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        let (mut files, mut labels) = (Vec::new(), Vec::new());
        for path in paths {
            let file = CifarFile::read(path, header, labels.len())?;
            let of_file = file.records().map(|record| u32::from(record[at]));
            labels.extend(of_file);
            file.check(&labels[file.first..], class_names.len())?;
            files.push(file);
        }
        Ok(Self {
            files,
            labels,
            class_names,
        })
    }

    /// The file of an image, and its place there.
    fn find(&self, index: usize) -> Result<(&CifarFile, usize), DataError> {
        let (after, len) = (
            self.files.partition_point(|file| file.first <= index),
            self.len(),
        );
        match after.checked_sub(1).and_then(|n| self.files.get(n)) {
            Some(file) if index < len => Ok((file, index - file.first)),
            _ => Err(DataError::OutOfRange { index, len }),
        }
    }
}

impl CifarFile {
    fn read(path: PathBuf, header: usize, first: usize) -> Result<Self, DataError> {
        let mut bytes = Vec::new();
        let mut file = plain_or_gzip::open(&path)?;
        file.read_to_end(&mut bytes)
            .map_err(DataError::read(&path))?;
        let record = header + PIXELS;
        match bytes.len() {
            0 => Err(DataError::EmptyFile {
                path,
                wanted: "at least one image",
            }),
            n if n.is_multiple_of(record) => Ok(Self {
                path,
                bytes,
                header,
                first,
            }),
            bytes => Err(DataError::CifarSize {
                path,
                record,
                bytes,
            }),
        }
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.header + PIXELS)
    }

    fn check(&self, labels: &[u32], classes: usize) -> Result<(), DataError> {
        match labels.iter().position(|&label| label as usize >= classes) {
            Some(image) => Err(DataError::Label {
                path: self.path.clone(),
                image,
                label: labels[image],
                classes,
            }),
            None => Ok(()),
        }
    }

    /// From planes to pixels.
    fn image(&self, at: usize) -> Result<Image, DataError> {
        let start = at * (self.header + PIXELS) + self.header;
        let planes = &self.bytes[start..start + PIXELS];
        let pixel = |i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]];
        Image::new(SIDE, SIDE, 3, (0..PLANE).flat_map(pixel).collect())
    }

    fn name(&self, at: usize) -> String {
        format!("{}[{at}]", self.path.display())
    }
}

/// The first so many lines of a file that has one for each class, or numbers if there is no file.
fn class_names(folder: &Path, file: &str, classes: usize) -> Result<Vec<String>, DataError> {
    let Ok(path) = find(folder, file) else {
        return Ok((0..classes).map(|class| class.to_string()).collect());
    };
    let bytes = plain_or_gzip::read_text(&path)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<String> = lines.map(str::to_owned).take(classes).collect();
    match names.len() == classes {
        true => Ok(names),
        false => Err(DataError::Line {
            path,
            line: names.len() as u64 + 1,
            wanted: format!("the names of {classes} classes"),
            came: format!("{} names", names.len()),
        }),
    }
}

impl Dataset for Cifar {
    type Item = Sample;

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let (file, at) = self.find(index)?;
        Ok(Sample {
            image: file.image(at)?,
            label: self.labels[index],
            source: file.name(at),
        })
    }

    fn name(&self, index: usize) -> String {
        match self.find(index) {
            Ok((file, at)) => file.name(at),
            Err(_) => format!("#{index}"),
        }
    }
}

impl Labelled for Cifar {
    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}
