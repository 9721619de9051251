//! From the pickled object to named tensors.

use std::collections::BTreeMap;

use super::PthError;
use super::pickle::{Node, NodeId, Pickle};
use super::tensor_view::{MAX_RANK, StorageRef, TensorView};
use crate::element::Element;
use crate::optimizer_state::{in_groups, of_state};

type Result<T> = std::result::Result<T, PthError>;

/// Entries under which training scripts keep the weights beside epoch, optimizer and the like.
const WRAPPERS: [&str; 6] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "weights",
];
/// Depth of nested containers.
const MAX_DEPTH: usize = 32;
/// Bytes of names that one walk may make: shared containers can multiply without end.
const MAX_NAME_BYTES: usize = 1 << 28;
/// Parameters wrapped in parameters.
const MAX_WRAPPED: usize = 8;

/// The tensors of a saved object by dotted name, its plain top-level values as text, and the integers
/// of an optimizer's state.
#[derive(Debug, Default)]
pub(crate) struct SavedObject {
    pub tensors: BTreeMap<String, TensorView>,
    pub scalars: BTreeMap<String, String>,
    pub numbers: BTreeMap<String, i64>,
}

impl SavedObject {
    /// Reads the entry `key` of the object. With `None`: the whole object, or the usual wrapper
    /// if the object has one and no tensors of its own.
    pub(crate) fn read(pickle: &Pickle, key: Option<&str>) -> Result<Self> {
        let top = dict(pickle, pickle.root());
        let root = match key {
            Some(key) => entry(pickle, top, key).ok_or_else(|| no_entry(pickle, top, key))?,
            None => wrapped(pickle, top).unwrap_or(pickle.root()),
        };
        let (tensors, numbers) = Walk::new(pickle).run(root)?;
        let saved = Self {
            tensors,
            scalars: scalars(pickle, top),
            numbers,
        };
        match saved.tensors.is_empty() {
            true => Err(PthError::NoTensors),
            false => Ok(saved),
        }
    }
}

/// Every storage the pickle mentions, by key.
pub(crate) fn storages(pickle: &Pickle) -> Result<BTreeMap<String, StorageRef>> {
    let mut all = BTreeMap::new();
    for id in pickle.ids() {
        if matches!(pickle.node(id), Node::Persistent(_)) {
            let storage = storage(pickle, id, "storage")?;
            let known = all.insert(storage.key.clone(), storage.clone());
            let same = |k: &StorageRef| k.element == storage.element && k.len == storage.len;
            if !known.as_ref().is_none_or(same) {
                return Err(bad(&storage.key, "one storage with two types or lengths"));
            }
        }
    }
    Ok(all)
}

fn dict(pickle: &Pickle, id: NodeId) -> &[(NodeId, NodeId)] {
    match pickle.node(id) {
        Node::Dict(items) => items,
        _ => &[],
    }
}

/// The value of `key`; as in Python, the last one counts.
fn entry(pickle: &Pickle, items: &[(NodeId, NodeId)], key: &str) -> Option<NodeId> {
    let found = items.iter().rev();
    let mut found = found.filter(|(k, _)| pickle.str(*k) == Some(key));
    found.next().map(|(_, value)| *value)
}

fn no_entry(pickle: &Pickle, items: &[(NodeId, NodeId)], key: &str) -> PthError {
    let names = items.iter().filter_map(|(k, _)| pickle.str(*k));
    PthError::NoEntry {
        key: key.to_string(),
        found: names.take(8).map(|name| format!("`{name}`")).collect(),
    }
}

fn wrapped(pickle: &Pickle, items: &[(NodeId, NodeId)]) -> Option<NodeId> {
    let is_call = |id: &NodeId| matches!(pickle.node(*id), Node::Call { .. });
    if items.iter().any(|(_, value)| is_call(value)) {
        return None;
    }
    let is_dict = |id: &NodeId| matches!(pickle.node(*id), Node::Dict(_));
    let mut found = WRAPPERS.iter().filter_map(|key| entry(pickle, items, key));
    found.find(is_dict)
}

fn scalars(pickle: &Pickle, items: &[(NodeId, NodeId)]) -> BTreeMap<String, String> {
    let text = |id: NodeId| match pickle.node(id) {
        Node::Bool(value) => Some(value.to_string()),
        Node::Int(value) => Some(value.to_string()),
        Node::Float(value) => Some(value.to_string()),
        Node::Str(value) => Some(value.clone()),
        _ => None,
    };
    let pair = |(key, value): &(NodeId, NodeId)| {
        let key = pickle.str(*key)?;
        Some((key.to_string(), text(*value)?))
    };
    items.iter().filter_map(pair).collect()
}

/// Tensors and numbers by name.
type Found = (BTreeMap<String, TensorView>, BTreeMap<String, i64>);

/// Depth first through dicts, lists and tuples.
struct Walk<'a> {
    pickle: &'a Pickle,
    tensors: BTreeMap<String, TensorView>,
    numbers: BTreeMap<String, i64>,
    /// Nodes to visit: value, dotted name, depth.
    open: Vec<(NodeId, String, usize)>,
    name_bytes: usize,
}

impl<'a> Walk<'a> {
    fn new(pickle: &'a Pickle) -> Self {
        Self {
            pickle,
            tensors: BTreeMap::new(),
            numbers: BTreeMap::new(),
            open: Vec::new(),
            name_bytes: 0,
        }
    }

    fn run(mut self, root: NodeId) -> Result<Found> {
        self.open.push((root, String::new(), 0));
        while let Some((id, name, depth)) = self.open.pop() {
            self.visit(id, name, depth)?;
        }
        Ok((self.tensors, self.numbers))
    }

    fn visit(&mut self, id: NodeId, name: String, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(PthError::TooLarge {
                what: "the nesting depth",
                limit: MAX_DEPTH as u64,
            });
        }
        match self.pickle.node(id) {
            Node::Dict(items) => items.iter().try_for_each(|(key, value)| {
                let key = key_text(self.pickle, *key, &name)?;
                self.enter(*value, &name, &key, depth)
            }),
            Node::List(items) | Node::Tuple(items) => {
                let mut items = items.iter().enumerate();
                items.try_for_each(|(i, item)| self.enter(*item, &name, &i.to_string(), depth))
            }
            Node::Call { .. } => self.take(id, name),
            Node::Int(number) => {
                if of_state(&name).is_some() || in_groups(&name).is_some() {
                    self.numbers.insert(name, *number);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn enter(&mut self, id: NodeId, parent: &str, key: &str, depth: usize) -> Result<()> {
        let name = match parent {
            "" => key.to_string(),
            _ => format!("{parent}.{key}"),
        };
        // The constant stands for the entry itself, so that empty names count too.
        self.name_bytes += name.len() + 64;
        if self.name_bytes > MAX_NAME_BYTES {
            return Err(PthError::TooLarge {
                what: "the length of all names",
                limit: MAX_NAME_BYTES as u64,
            });
        }
        self.open.push((id, name, depth + 1));
        Ok(())
    }

    fn take(&mut self, id: NodeId, name: String) -> Result<()> {
        let Some(view) = tensor(self.pickle, id, &name)? else {
            return Ok(());
        };
        match self.tensors.insert(name.clone(), view) {
            None => Ok(()),
            Some(_) => Err(bad(&name, "two tensors have this name")),
        }
    }
}

fn key_text(pickle: &Pickle, key: NodeId, parent: &str) -> Result<String> {
    match pickle.node(key) {
        Node::Str(text) => Ok(text.clone()),
        Node::Int(number) => Ok(number.to_string()),
        _ => Err(bad(parent, "a key is neither text nor an integer")),
    }
}

/// The tensor of a call of `_rebuild_tensor_v2`, also inside `_rebuild_parameter`; `None` for
/// other calls.
fn tensor(pickle: &Pickle, id: NodeId, name: &str) -> Result<Option<TensorView>> {
    let mut id = id;
    for _ in 0..MAX_WRAPPED {
        let Some((function, args)) = call(pickle, id) else {
            return Err(bad(name, "a parameter without a tensor"));
        };
        match (function, args) {
            ("_rebuild_parameter", [data, ..]) => id = *data,
            ("_rebuild_tensor" | "_rebuild_tensor_v2", [storage, offset, size, stride, ..]) => {
                return view(pickle, name, [*storage, *offset, *size, *stride]).map(Some);
            }
            ("Size", _) => return Ok(None),
            _ => {
                return Err(bad(
                    name,
                    "a tensor without storage, offset, size and stride",
                ));
            }
        }
    }
    Err(bad(name, "a parameter in a parameter in a parameter"))
}

fn call(pickle: &Pickle, id: NodeId) -> Option<(&str, &[NodeId])> {
    let Node::Call { global, args } = pickle.node(id) else {
        return None;
    };
    match pickle.node(*global) {
        Node::Global { name, .. } => Some((name, pickle.tuple(*args)?)),
        _ => None,
    }
}

fn view(pickle: &Pickle, name: &str, parts: [NodeId; 4]) -> Result<TensorView> {
    let [storage_id, offset, size, stride] = parts;
    let shape = numbers(pickle, size).ok_or_else(|| bad(name, "a size that is no shape"))?;
    let stride = numbers(pickle, stride).ok_or_else(|| bad(name, "a stride that is no shape"))?;
    if shape.len() != stride.len() || shape.len() > MAX_RANK {
        return Err(bad(name, "size and stride of different or too high rank"));
    }
    let shape: std::result::Result<Vec<_>, _> = shape.into_iter().map(usize::try_from).collect();
    Ok(TensorView {
        storage: storage(pickle, storage_id, name)?,
        offset: pickle
            .unsigned(offset)
            .ok_or_else(|| bad(name, "an offset that is no count"))?,
        shape: shape.map_err(|_| bad(name, "a size that is too large"))?,
        stride,
    })
}

/// A tuple of counts, plain or as a `torch.Size`.
fn numbers(pickle: &Pickle, id: NodeId) -> Option<Vec<u64>> {
    let items = match call(pickle, id) {
        Some(("Size", [items])) => pickle.tuple(*items)?,
        Some(_) => return None,
        None => pickle.tuple(id)?,
    };
    items.iter().map(|item| pickle.unsigned(*item)).collect()
}

/// `('storage', torch.XStorage, key, device, length[, None or (view key, start, length)])`.
fn storage(pickle: &Pickle, id: NodeId, name: &str) -> Result<StorageRef> {
    let Node::Persistent(id) = pickle.node(id) else {
        return Err(bad(name, "a tensor without a storage"));
    };
    let parts = pickle.tuple(*id).unwrap_or_default();
    let [kind, class, key, _device, len, rest @ ..] = parts else {
        return Err(bad(name, "a storage that is not described"));
    };
    // The other kind is 'module', a pickled class with its source code.
    if pickle.str(*kind) != Some("storage") {
        return Err(bad(
            name,
            "a reference to what is no storage; save a state dict instead",
        ));
    }
    let key = pickle
        .str(*key)
        .ok_or_else(|| bad(name, "a storage without a key"))?;
    let len = pickle
        .unsigned(*len)
        .ok_or_else(|| bad(name, "a storage without a length"))?;
    let (start, used) = part(pickle, rest.first(), len)
        .ok_or_else(|| bad(name, "a part of a storage that is not described"))?;
    Ok(StorageRef {
        key: key.to_string(),
        element: element(pickle, *class, name)?,
        len,
        start,
        used,
    })
}

fn part(pickle: &Pickle, id: Option<&NodeId>, len: u64) -> Option<(u64, u64)> {
    match id.map(|id| pickle.node(*id)) {
        None | Some(Node::None) => Some((0, len)),
        Some(Node::Tuple(parts)) => match parts.as_slice() {
            [_key, start, used] => Some((pickle.unsigned(*start)?, pickle.unsigned(*used)?)),
            _ => None,
        },
        Some(_) => None,
    }
}

fn element(pickle: &Pickle, class: NodeId, name: &str) -> Result<Element> {
    let Node::Global { name: class, .. } = pickle.node(class) else {
        return Err(bad(name, "a storage without a type"));
    };
    Element::of_storage(class).ok_or_else(|| PthError::UnsupportedStorage {
        name: name.to_string(),
        class: class.clone(),
    })
}

fn bad(name: &str, what: &'static str) -> PthError {
    PthError::BadObject {
        name: name.to_string(),
        what,
    }
}
