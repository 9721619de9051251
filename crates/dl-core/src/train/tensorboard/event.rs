//! TensorBoard's `Event` message, as far as a run has something to say, in protobuf's wire format.

use super::Histogram;

/// A message that is being put together.
#[derive(Default)]
struct Message(Vec<u8>);

/// How a field's value is written.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Eight = 1,
    Bytes = 2,
    Four = 5,
}

impl Message {
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn key(self, field: u64, wire: Wire) -> Self {
        self.varint(field << 3 | wire as u64)
    }

    fn int(self, field: u64, value: u64) -> Self {
        self.key(field, Wire::Varint).varint(value)
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self = self.key(field, Wire::Eight);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, value: f32) -> Self {
        self = self.key(field, Wire::Four);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self = self.key(field, Wire::Bytes).varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn message(self, field: u64, message: Self) -> Self {
        self.bytes(field, &message.0)
    }

    fn doubles(self, field: u64, values: &[f64]) -> Self {
        let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(field, &packed)
    }
}

/// The first record of a file.
pub(super) fn version(wall_time: f64) -> Vec<u8> {
    let event = Message::default().double(1, wall_time);
    event.bytes(3, b"brain.Event:2").0
}

/// Says that a run goes on: what was shown from `step` on is to be forgotten.
pub(super) fn session_start(wall_time: f64, step: u64) -> Vec<u8> {
    const START: u64 = 1;
    let log = Message::default().int(1, START);
    at(wall_time, step).message(7, log).0
}

/// Numbers of one step, by tag; a graph is drawn of f32.
pub(super) fn scalars(wall_time: f64, step: u64, values: &[(String, f64)]) -> Vec<u8> {
    let values = values.iter().map(|(tag, value)| {
        let named = Message::default().bytes(1, tag.as_bytes());
        named.float(2, *value as f32)
    });
    summary(wall_time, step, values)
}

/// One histogram.
pub(super) fn histogram(wall_time: f64, step: u64, tag: &str, histogram: &Histogram) -> Vec<u8> {
    let counts: Vec<f64> = histogram.counts.iter().map(|n| *n as f64).collect();
    let body = Message::default()
        .double(1, histogram.min)
        .double(2, histogram.max)
        .double(3, histogram.count as f64)
        .double(4, histogram.sum)
        .double(5, histogram.sum_of_squares)
        .doubles(6, &histogram.limits)
        .doubles(7, &counts);
    let value = Message::default().bytes(1, tag.as_bytes()).message(5, body);
    summary(wall_time, step, [value])
}

/// A text in Markdown.
pub(super) fn text(wall_time: f64, step: u64, tag: &str, text: &str) -> Vec<u8> {
    const STRING: u64 = 7;
    let one = Message::default().int(1, 1);
    let shape = Message::default().message(2, one);
    let tensor = Message::default().int(1, STRING).message(2, shape);
    let tensor = tensor.bytes(8, text.as_bytes());
    let plugin = Message::default().bytes(1, b"text");
    let tag = format!("{tag}/text_summary");
    let value = Message::default().bytes(1, tag.as_bytes());
    let value = value.message(8, tensor);
    summary(
        wall_time,
        step,
        [value.message(9, Message::default().message(1, plugin))],
    )
}

fn summary(wall_time: f64, step: u64, values: impl IntoIterator<Item = Message>) -> Vec<u8> {
    let add = |summary: Message, value| summary.message(1, value);
    let summary = values.into_iter().fold(Message::default(), add);
    at(wall_time, step).message(5, summary).0
}

/// An event's time and step; protobuf leaves a 0 out.
fn at(wall_time: f64, step: u64) -> Message {
    let event = Message::default().double(1, wall_time);
    match step {
        0 => event,
        step => event.int(2, step),
    }
}

/// The step of an event that was written; 0 if it says none.
pub(super) fn step_of(mut event: &[u8]) -> Option<u64> {
    while !event.is_empty() {
        let (key, rest) = varint(event)?;
        let (value, rest) = match key & 7 {
            0 => varint(rest)?,
            1 => (0, rest.get(8..)?),
            2 => {
                let (length, rest) = varint(rest)?;
                (0, rest.get(usize::try_from(length).ok()?..)?)
            }
            5 => (0, rest.get(4..)?),
            _ => return None,
        };
        if key == 2 << 3 {
            return Some(value);
        }
        event = rest;
    }
    Some(0)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (n, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[n + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;

    /// What `tools/reference/event_files.py` wrote with PyTorch.
    fn fixture() -> Value {
        let text = include_str!("../../../tests/fixtures/event_files.json");
        serde_json::from_str(text).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        let values = value.as_array().unwrap().iter();
        values.map(|v| v.as_f64().unwrap()).collect()
    }

    #[test]
    fn events_are_pytorchs_byte_for_byte() {
        let fixture = fixture();
        let time = fixture["wall_time"].as_f64().unwrap();
        let spread = numbers(&fixture["histograms"]["spread"]["values"]);
        let spread = Histogram::of(spread).unwrap();
        let loss = [("train/loss".to_string(), 0.625)];
        for (name, ours) in [
            ("version", version(time)),
            ("scalar", scalars(time, 300, &loss)),
            ("histogram", histogram(time, 7, "parameters/w", &spread)),
            ("text", text(time, 0, "configuration", "| lr | 0.1 |")),
            ("session_start", session_start(time, 301)),
        ] {
            assert_eq!(hex(&ours), fixture[name].as_str().unwrap(), "{name}");
        }
    }

    #[test]
    fn histograms_have_pytorchs_limits_and_counts() {
        let fixture = fixture();
        for (name, case) in fixture["histograms"].as_object().unwrap() {
            let found = Histogram::of(numbers(&case["values"])).unwrap();
            assert_eq!(found.limits, numbers(&case["limits"]), "{name}");
            let counts: Vec<f64> = found.counts.iter().map(|n| *n as f64).collect();
            assert_eq!(counts, numbers(&case["counts"]), "{name}");
        }
    }

    #[test]
    fn the_step_of_every_kind_of_event_is_found_and_bad_bytes_have_none() {
        let drawn = Histogram::of([1., 2.]).unwrap();
        for step in [0, 1, 127, 128, 300, u64::MAX] {
            let named = [("loss".to_string(), 0.5)];
            for event in [
                session_start(1., step),
                scalars(1., step, &named),
                text(1., step, "a", "b"),
                histogram(1., step, "h", &drawn),
            ] {
                assert_eq!(step_of(&event), Some(step));
            }
        }
        assert_eq!(step_of(&version(1.)), Some(0));
        assert_eq!(step_of(&[0x2a, 0xff, 0x01]), None);
        assert_eq!(step_of(&[0xff; 12]), None);
    }
}
