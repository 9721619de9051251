//! The event files of a folder, read without the code that wrote them.

use std::path::Path;

/// Tag, step and value of every number, and tag and step of everything else (without a value), in the
/// order of files and events.
pub type Shown = Vec<(String, u64, Option<f32>)>;

pub fn read(folder: &Path) -> Shown {
    let names = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
    // Of files of one second the last number counts.
    paths.sort_by_key(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let (front, count) = name.rsplit_once('.').unwrap();
        (front.to_string(), count.parse::<u64>().unwrap())
    });
    paths
        .iter()
        .flat_map(|path| events(&std::fs::read(path).unwrap()))
        .collect()
}

fn events(mut file: &[u8]) -> Shown {
    let mut shown = vec![];
    while !file.is_empty() {
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        shown.extend(event(&file[12..12 + length]));
        file = &file[16 + length..];
    }
    shown
}

fn event(bytes: &[u8]) -> Shown {
    let event = fields(bytes);
    let step = event.iter().find(|(field, _)| *field == 2);
    let step = step.map_or(0, |(_, bytes)| {
        u64::from_le_bytes(bytes[..].try_into().unwrap())
    });
    let summaries = event.iter().filter(|(field, _)| *field == 5);
    let values = summaries.flat_map(|(_, bytes)| fields(bytes));
    let values = values.map(|(_, value)| {
        let value = fields(&value);
        let part = |wanted| value.iter().find(|(field, _)| *field == wanted);
        let tag = String::from_utf8(part(1).unwrap().1.to_vec()).unwrap();
        let number = part(2).map(|(_, bytes)| f32::from_le_bytes(bytes[..].try_into().unwrap()));
        (tag, step, number)
    });
    values.collect()
}

/// Field numbers and contents; a varint as eight bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = vec![];
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let content = match key & 7 {
            0 => varint(&mut bytes).to_le_bytes().to_vec(),
            1 => take(&mut bytes, 8),
            5 => take(&mut bytes, 4),
            _ => {
                let length = varint(&mut bytes) as usize;
                take(&mut bytes, length)
            }
        };
        found.push((key >> 3, content));
    }
    found
}

fn take(bytes: &mut &[u8], length: usize) -> Vec<u8> {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken.to_vec()
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
