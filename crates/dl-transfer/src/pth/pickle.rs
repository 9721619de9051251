//! A pickle interpreter that builds plain data and nothing else.
//!
//! Values live in one arena and refer to each other by index, so sharing and cycles need no
//! recursion, and `n` instructions never make more than `n` values. A call is allowed only for the
//! names in [`ALLOWED`] and is kept as data; no code is run.
//!
//! Source: CPython, `Lib/pickletools.py` (protocols 2 to 5; what `torch.save` writes).

use std::collections::HashMap;
use std::io::{ErrorKind, Read};

use super::PthError;

type Result<T> = std::result::Result<T, PthError>;

/// Instructions in one pickle. A checkpoint needs about forty for each tensor.
const MAX_INSTRUCTIONS: u64 = 1 << 22;
/// Bytes of a module or class name.
const MAX_LINE: usize = 512;

/// The only names a pickle may mention, besides `torch.*Storage`.
const ALLOWED: [(&str, &str); 5] = [
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
];

mod op {
    pub const MARK: u8 = b'(';
    pub const STOP: u8 = b'.';
    pub const POP: u8 = b'0';
    pub const POP_MARK: u8 = b'1';
    pub const BINFLOAT: u8 = b'G';
    pub const BININT: u8 = b'J';
    pub const BININT1: u8 = b'K';
    pub const BININT2: u8 = b'M';
    pub const LONG1: u8 = 0x8a;
    pub const LONG4: u8 = 0x8b;
    pub const NONE: u8 = b'N';
    pub const NEWTRUE: u8 = 0x88;
    pub const NEWFALSE: u8 = 0x89;
    pub const BINPERSID: u8 = b'Q';
    pub const REDUCE: u8 = b'R';
    pub const NEWOBJ: u8 = 0x81;
    pub const BUILD: u8 = b'b';
    pub const GLOBAL: u8 = b'c';
    pub const STACK_GLOBAL: u8 = 0x93;
    pub const BINSTRING: u8 = b'T';
    pub const SHORT_BINSTRING: u8 = b'U';
    pub const BINUNICODE: u8 = b'X';
    pub const SHORT_BINUNICODE: u8 = 0x8c;
    pub const BINBYTES: u8 = b'B';
    pub const SHORT_BINBYTES: u8 = b'C';
    pub const APPEND: u8 = b'a';
    pub const APPENDS: u8 = b'e';
    pub const SETITEM: u8 = b's';
    pub const SETITEMS: u8 = b'u';
    pub const DICT: u8 = b'd';
    pub const EMPTY_DICT: u8 = b'}';
    pub const LIST: u8 = b'l';
    pub const EMPTY_LIST: u8 = b']';
    pub const TUPLE: u8 = b't';
    pub const EMPTY_TUPLE: u8 = b')';
    pub const TUPLE1: u8 = 0x85;
    pub const TUPLE2: u8 = 0x86;
    pub const TUPLE3: u8 = 0x87;
    pub const BINGET: u8 = b'h';
    pub const LONG_BINGET: u8 = b'j';
    pub const BINPUT: u8 = b'q';
    pub const LONG_BINPUT: u8 = b'r';
    pub const MEMOIZE: u8 = 0x94;
    pub const PROTO: u8 = 0x80;
    pub const FRAME: u8 = 0x95;
}

/// Where a value stands in the arena of its [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(usize);

/// One value.
#[derive(Debug, PartialEq)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// An integer wider than 64 bits, as its little-endian bytes.
    BigInt(Vec<u8>),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    List(Vec<NodeId>),
    Tuple(Vec<NodeId>),
    Dict(Vec<(NodeId, NodeId)>),
    Global {
        module: String,
        name: String,
    },
    /// A call of an allowed global, not carried out.
    Call {
        global: NodeId,
        args: NodeId,
    },
    /// A reference to an object outside of the pickle: a storage.
    Persistent(NodeId),
}

/// The values a pickle made.
#[derive(Debug)]
pub(crate) struct Pickle {
    nodes: Vec<Node>,
    root: NodeId,
}

impl Pickle {
    pub(crate) fn read(source: &mut Source<impl Read>) -> Result<Self> {
        Machine::new(source).run()
    }

    pub(crate) fn root(&self) -> NodeId {
        self.root
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0).unwrap_or(&Node::None)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> {
        (0..self.nodes.len()).map(NodeId)
    }

    pub(crate) fn str(&self, id: NodeId) -> Option<&str> {
        match self.node(id) {
            Node::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn unsigned(&self, id: NodeId) -> Option<u64> {
        match self.node(id) {
            Node::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    pub(crate) fn tuple(&self, id: NodeId) -> Option<&[NodeId]> {
        match self.node(id) {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }
}

/// Bytes of a known total length, counted as they are read.
pub(crate) struct Source<R> {
    inner: R,
    position: u64,
    end: u64,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(inner: R, end: u64) -> Self {
        Self {
            inner,
            position: 0,
            end,
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// `len` bytes; the length is checked against the end before memory is taken.
    fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.check(len)?;
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Text up to a line feed.
    fn line(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                _ if bytes.len() == MAX_LINE => return Err(self.malformed("a name without an end")),
                byte => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).map_err(|_| self.malformed("a name that is not UTF-8"))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.check(bytes.len() as u64)?;
        self.inner.read_exact(bytes).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => self.truncated(bytes.len() as u64),
            _ => e.into(),
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn check(&self, len: u64) -> Result<()> {
        match len <= self.end - self.position {
            true => Ok(()),
            false => Err(self.truncated(len)),
        }
    }

    fn truncated(&self, wanted: u64) -> PthError {
        PthError::Truncated {
            at: self.position,
            wanted,
            end: self.end,
        }
    }

    pub(crate) fn malformed(&self, what: &'static str) -> PthError {
        PthError::Malformed {
            what,
            at: self.position,
        }
    }
}

struct Machine<'a, R> {
    source: &'a mut Source<R>,
    nodes: Vec<Node>,
    stack: Vec<NodeId>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, NodeId>,
    /// Dict items copied from argument lists so far.
    copies: u64,
}

impl<'a, R: Read> Machine<'a, R> {
    fn new(source: &'a mut Source<R>) -> Self {
        Self {
            source,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copies: 0,
        }
    }

    fn run(mut self) -> Result<Pickle> {
        for _ in 0..MAX_INSTRUCTIONS {
            match self.source.byte()? {
                op::STOP => {
                    let root = self.pop()?;
                    return Ok(Pickle {
                        nodes: self.nodes,
                        root,
                    });
                }
                opcode => self.step(opcode)?,
            }
        }
        Err(PthError::TooLarge {
            what: "the number of pickle instructions",
            limit: MAX_INSTRUCTIONS,
        })
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            op::PROTO => self.source.byte().map(drop),
            op::FRAME => self.source.array::<8>().map(drop),
            op::MARK => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            op::POP => self.pop().map(drop),
            op::POP_MARK => self.pop_mark().map(drop),
            op::NONE | op::NEWTRUE | op::NEWFALSE => self.constant(opcode),
            op::BININT1 | op::BININT2 | op::BININT | op::LONG1 | op::LONG4 | op::BINFLOAT => {
                self.number(opcode)
            }
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINSTRING | op::SHORT_BINSTRING => {
                self.text(opcode)
            }
            op::BINBYTES | op::SHORT_BINBYTES => self.text(opcode),
            op::EMPTY_LIST | op::EMPTY_DICT | op::EMPTY_TUPLE | op::LIST | op::DICT => {
                self.container(opcode)
            }
            op::TUPLE | op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => self.container(opcode),
            op::APPEND | op::APPENDS | op::SETITEM | op::SETITEMS => self.extend(opcode),
            op::BINPUT | op::LONG_BINPUT | op::MEMOIZE | op::BINGET | op::LONG_BINGET => {
                self.memory(opcode)
            }
            op::GLOBAL | op::STACK_GLOBAL => self.global(opcode),
            op::REDUCE | op::NEWOBJ => self.call(),
            op::BUILD => self.build(),
            op::BINPERSID => {
                let id = self.pop()?;
                self.push(Node::Persistent(id));
                Ok(())
            }
            _ => Err(PthError::UnsupportedOpcode {
                opcode,
                at: self.source.position - 1,
            }),
        }
    }

    fn constant(&mut self, opcode: u8) -> Result<()> {
        self.push(match opcode {
            op::NEWTRUE => Node::Bool(true),
            op::NEWFALSE => Node::Bool(false),
            _ => Node::None,
        });
        Ok(())
    }

    fn number(&mut self, opcode: u8) -> Result<()> {
        let source = &mut *self.source;
        let node = match opcode {
            op::BININT1 => Node::Int(i64::from(source.byte()?)),
            op::BININT2 => Node::Int(i64::from(u16::from_le_bytes(source.array()?))),
            op::BININT => Node::Int(i64::from(i32::from_le_bytes(source.array()?))),
            // The one number that pickle writes in big-endian order.
            op::BINFLOAT => Node::Float(f64::from_be_bytes(source.array()?)),
            _ => {
                let len = match opcode {
                    op::LONG1 => u64::from(source.byte()?),
                    _ => u64::from(u32::from_le_bytes(source.array()?)),
                };
                integer(source.bytes(len)?)
            }
        };
        self.push(node);
        Ok(())
    }

    fn text(&mut self, opcode: u8) -> Result<()> {
        let len = match opcode {
            op::SHORT_BINUNICODE | op::SHORT_BINSTRING | op::SHORT_BINBYTES => {
                u64::from(self.source.byte()?)
            }
            _ => u64::from(u32::from_le_bytes(self.source.array()?)),
        };
        let bytes = self.source.bytes(len)?;
        let is_bytes = matches!(opcode, op::BINBYTES | op::SHORT_BINBYTES);
        let is_unicode = matches!(opcode, op::BINUNICODE | op::SHORT_BINUNICODE);
        // Python 2 wrote names as byte strings; they are names if they read as UTF-8.
        let node = match (is_bytes, String::from_utf8(bytes)) {
            (false, Ok(text)) => Node::Str(text),
            (true, Ok(text)) => Node::Bytes(text.into_bytes()),
            (_, Err(e)) if !is_unicode => Node::Bytes(e.into_bytes()),
            (_, Err(_)) => return Err(self.source.malformed("a string that is not UTF-8")),
        };
        self.push(node);
        Ok(())
    }

    fn container(&mut self, opcode: u8) -> Result<()> {
        let node = match opcode {
            op::EMPTY_LIST => Node::List(Vec::new()),
            op::EMPTY_DICT => Node::Dict(Vec::new()),
            op::EMPTY_TUPLE => Node::Tuple(Vec::new()),
            op::TUPLE1 => Node::Tuple(self.pop_many(1)?),
            op::TUPLE2 => Node::Tuple(self.pop_many(2)?),
            op::TUPLE3 => Node::Tuple(self.pop_many(3)?),
            op::TUPLE => Node::Tuple(self.pop_mark()?),
            op::LIST => Node::List(self.pop_mark()?),
            _ => {
                let items = self.pop_mark()?;
                Node::Dict(self.pairs(&items)?)
            }
        };
        self.push(node);
        Ok(())
    }

    fn extend(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            op::APPEND => self.pop_many(1)?,
            op::SETITEM => self.pop_many(2)?,
            _ => self.pop_mark()?,
        };
        let target = self.top()?;
        let is_list = matches!(opcode, op::APPEND | op::APPENDS);
        let pairs = match is_list {
            true => Vec::new(),
            false => self.pairs(&items)?,
        };
        match self.nodes.get_mut(target.0) {
            Some(Node::List(list)) if is_list => list.extend(items),
            Some(Node::Dict(dict)) if !is_list => dict.extend(pairs),
            _ => return Err(self.source.malformed("items added to what is no container")),
        }
        Ok(())
    }

    fn memory(&mut self, opcode: u8) -> Result<()> {
        let slot = match opcode {
            op::BINPUT | op::BINGET => u32::from(self.source.byte()?),
            op::MEMOIZE => self.memo.len() as u32,
            _ => u32::from_le_bytes(self.source.array()?),
        };
        if matches!(opcode, op::BINGET | op::LONG_BINGET) {
            let id = self.memo.get(&slot).copied();
            let unknown = || self.source.malformed("a reference to an unknown value");
            self.stack.push(id.ok_or_else(unknown)?);
        } else {
            let id = self.top()?;
            self.memo.insert(slot, id);
        }
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<()> {
        let (module, name) = match opcode {
            op::GLOBAL => (self.source.line()?, self.source.line()?),
            _ => {
                let (name, module) = (self.pop()?, self.pop()?);
                (self.pop_text(module)?, self.pop_text(name)?)
            }
        };
        let is_storage = module == "torch" && name.ends_with("Storage");
        if !is_storage && !ALLOWED.contains(&(module.as_str(), name.as_str())) {
            return Err(PthError::RefusedGlobal { module, name });
        }
        self.push(Node::Global { module, name });
        Ok(())
    }

    /// `REDUCE` and `NEWOBJ`: an `OrderedDict` becomes a dict, the rest stays a description.
    fn call(&mut self) -> Result<()> {
        let (args, global) = (self.pop()?, self.pop()?);
        if !matches!(self.nodes.get(args.0), Some(Node::Tuple(_))) {
            return Err(self.source.malformed("arguments that are no tuple"));
        }
        let node = match self.nodes.get(global.0) {
            Some(Node::Global { name, .. }) if name == "OrderedDict" => {
                let pairs = self.ordered_dict(args)?;
                self.count_copies(pairs.len())?;
                Node::Dict(pairs)
            }
            Some(Node::Global { name, .. }) if name.starts_with("_rebuild") || name == "Size" => {
                Node::Call { global, args }
            }
            Some(Node::Global { module, name }) => {
                return Err(PthError::RefusedGlobal {
                    module: module.clone(),
                    name: format!("{name}()"),
                });
            }
            _ => return Err(self.source.malformed("a call of what is no function")),
        };
        self.push(node);
        Ok(())
    }

    /// Python 2 passed the items as one list of `[key, value]` lists.
    fn ordered_dict(&self, args: NodeId) -> Result<Vec<(NodeId, NodeId)>> {
        let items = match self.sequence(args) {
            Some([]) => return Ok(Vec::new()),
            Some([items]) => self.sequence(*items),
            _ => None,
        };
        let pair = |id: &NodeId| match self.sequence(*id) {
            Some(&[key, value]) => Some((key, value)),
            _ => None,
        };
        let pairs: Option<Vec<_>> = items.and_then(|items| items.iter().map(pair).collect());
        pairs.ok_or_else(|| self.source.malformed("an OrderedDict of what are no pairs"))
    }

    /// One argument list may be used by many calls; the copies count like instructions.
    fn count_copies(&mut self, count: usize) -> Result<()> {
        self.copies += count as u64;
        match self.copies <= MAX_INSTRUCTIONS {
            true => Ok(()),
            false => Err(PthError::TooLarge {
                what: "the number of dict items",
                limit: MAX_INSTRUCTIONS,
            }),
        }
    }

    fn sequence(&self, id: NodeId) -> Option<&[NodeId]> {
        match self.nodes.get(id.0) {
            Some(Node::List(items) | Node::Tuple(items)) => Some(items),
            _ => None,
        }
    }

    /// `BUILD` sets attributes. On a dict they are PyTorch's `_metadata` (module versions).
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        let target = self.top()?;
        match self.nodes.get(target.0) {
            Some(Node::Dict(_)) => Ok(()),
            _ => Err(self.source.malformed("attributes set on what is no dict")),
        }
    }

    fn push(&mut self, node: Node) {
        self.stack.push(NodeId(self.nodes.len()));
        self.nodes.push(node);
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<NodeId> {
        let top = self.stack[self.floor().min(self.stack.len())..].last();
        top.copied()
            .ok_or_else(|| self.source.malformed("an empty stack"))
    }

    fn pop(&mut self) -> Result<NodeId> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<NodeId>> {
        let start = self.stack.len().checked_sub(count);
        match start.filter(|start| *start >= self.floor()) {
            Some(start) => Ok(self.stack.split_off(start)),
            None => Err(self.source.malformed("an empty stack")),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<NodeId>> {
        match self.marks.pop() {
            Some(start) => Ok(self.stack.split_off(start.min(self.stack.len()))),
            None => Err(self.source.malformed("no mark on the stack")),
        }
    }

    fn pop_text(&self, id: NodeId) -> Result<String> {
        match self.nodes.get(id.0) {
            Some(Node::Str(text)) => Ok(text.clone()),
            _ => Err(self.source.malformed("a name that is no string")),
        }
    }

    fn pairs(&self, items: &[NodeId]) -> Result<Vec<(NodeId, NodeId)>> {
        if !items.len().is_multiple_of(2) {
            return Err(self.source.malformed("a key without a value"));
        }
        Ok(items
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect())
    }
}

/// A little-endian two's complement integer of any width.
fn integer(bytes: Vec<u8>) -> Node {
    if bytes.len() > 8 {
        return Node::BigInt(bytes);
    }
    let negative = bytes.last().is_some_and(|top| top & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(&bytes);
    Node::Int(i64::from_le_bytes(wide))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Pickle> {
        Pickle::read(&mut Source::new(bytes, bytes.len() as u64))
    }

    #[test]
    fn integers_keep_their_sign_at_every_width() {
        // pickle.dumps(-2, 2) = K cannot; -2 is J fe ff ff ff; -(2**40) is LONG1 of six bytes.
        let int = |bytes: &[u8]| match read(bytes).unwrap() {
            p if matches!(p.node(p.root()), Node::Int(_)) => match p.node(p.root()) {
                Node::Int(v) => *v,
                _ => 0,
            },
            _ => 0,
        };
        assert_eq!(int(b"\x80\x02J\xfe\xff\xff\xff."), -2);
        assert_eq!(int(b"\x80\x02\x8a\x06\0\0\0\0\0\xff."), -(1i64 << 40));
        assert_eq!(int(b"\x80\x02M\xff\xff."), 65535);
    }

    #[test]
    fn a_dict_filled_after_it_was_remembered_is_one_dict() {
        // pickle.dumps of d = {}; [d, d] with d['a'] = 1, protocol 2.
        let p = read(b"\x80\x02]q\0(}q\x01X\x01\0\0\0aq\x02K\x01sh\x01e.").unwrap();
        let Node::List(items) = p.node(p.root()) else {
            unreachable!("the pickle is a list")
        };
        assert_eq!(items[0], items[1]);
        assert!(matches!(p.node(items[0]), Node::Dict(d) if d.len() == 1));
    }

    #[test]
    fn a_call_of_anything_else_is_refused_by_name() {
        // pickle.dumps of an object whose __reduce__ is (os.system, ('true',)).
        let error = read(b"\x80\x02cposix\nsystem\nq\0X\x04\0\0\0true\x85R.").unwrap_err();
        assert!(error.to_string().contains("`posix.system`"), "{error}");
    }

    #[test]
    fn a_string_longer_than_the_file_is_refused_before_memory_is_taken() {
        let error = read(b"\x80\x02X\xff\xff\xff\xffab.").unwrap_err();
        assert!(matches!(
            error,
            PthError::Truncated {
                wanted: 0xffff_ffff,
                ..
            }
        ));
    }

    #[test]
    fn popping_below_a_mark_is_an_error() {
        // MARK then TUPLE1: the value below the mark is out of reach.
        assert!(read(b"N(\x85.").is_err());
        assert!(read(b"Nt.").is_err());
        assert!(read(b".").is_err());
    }
}
