//! A pickle virtual machine that executes nothing: it builds a graph of plain values.
//!
//! It knows the opcodes that Python's binary pickles (protocols 2 to 5) hold when `torch.save`
//! writes tensors. Objects of unknown classes become [`Node::Object`], of which only the name is
//! kept. Memory is bounded by the length of the pickle and by [`MAX_NODES`].

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};

use super::graph::{Graph, Id, MAX_NODES, Node};

/// Longest name of a class accepted, in bytes.
const MAX_NAME: usize = 256;

/// Reads one pickle from the front of `bytes`, which moves behind it.
pub fn read(bytes: &mut &[u8]) -> Result<(Graph, Id)> {
    let mut machine = Machine {
        bytes,
        graph: Graph::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok((machine.graph, root))
}

struct Machine<'a, 'b> {
    bytes: &'a mut &'b [u8],
    graph: Graph,
    stack: Vec<Id>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

impl Machine<'_, '_> {
    /// Carries out one opcode; `false` after the last one. Names and numbers are those of Python's
    /// `pickletools`.
    fn step(&mut self) -> Result<bool> {
        let [opcode] = self.take_array()?;
        match opcode {
            b'.' => return Ok(false),                  // STOP
            0x80 => drop(self.take(1)?),               // PROTO
            0x95 => drop(self.take(8)?),               // FRAME
            b'(' => self.marks.push(self.stack.len()), // MARK
            b'0' => drop(self.pop()?),                 // POP
            b'1' => drop(self.pop_mark()?),            // POP_MARK
            b'2' => self.stack.push(self.top()?),      // DUP
            b'N' => self.push(Node::None)?,            // NONE
            0x88 => self.push(Node::Bool(true))?,      // NEWTRUE
            0x89 => self.push(Node::Bool(false))?,     // NEWFALSE
            b'K' => self.push_unsigned::<1>()?,        // BININT1
            b'M' => self.push_unsigned::<2>()?,        // BININT2
            b'J' => {
                let value = i32::from_le_bytes(self.take_array()?); // BININT
                self.push(Node::Int(value.into()))?;
            }
            0x8a => self.push_long::<1>()?, // LONG1
            0x8b => self.push_long::<4>()?, // LONG4
            b'G' => {
                self.take(8)?; // BINFLOAT
                self.push(Node::Float)?;
            }
            b'U' | b'C' | 0x8c => self.push_text::<1>()?, // SHORT_BIN{STRING,BYTES,UNICODE}
            b'T' | b'B' | b'X' => self.push_text::<4>()?, // BIN{STRING,BYTES,UNICODE}
            0x8d | 0x8e | 0x96 => self.push_text::<8>()?, // BIN{UNICODE,BYTES}8, BYTEARRAY8
            b')' | b']' | 0x8f => self.push(Node::Sequence(Vec::new()))?, // EMPTY_{TUPLE,LIST,SET}
            b't' | b'l' | 0x91 => {
                let items = self.pop_mark()?; // TUPLE, LIST, FROZENSET
                self.push(Node::Sequence(items))?;
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84); // TUPLE1, TUPLE2, TUPLE3
                let items = self.pop_many(count)?;
                self.push(Node::Sequence(items))?;
            }
            b'}' => self.push(Node::Dict(Vec::new()))?, // EMPTY_DICT
            b'd' => {
                let pairs = pairs(&self.pop_mark()?)?; // DICT
                self.push(Node::Dict(pairs))?;
            }
            b'a' => {
                let item = self.pop()?; // APPEND
                self.extend_sequence(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?; // APPENDS, ADDITEMS
                self.extend_sequence(&items)?;
            }
            b's' => {
                let items = self.pop_many(2)?; // SETITEM
                self.extend_dict(&items)?;
            }
            b'u' => {
                let items = self.pop_mark()?; // SETITEMS
                self.extend_dict(&items)?;
            }
            b'c' => {
                let module = self.take_line()?; // GLOBAL
                let name = self.take_line()?;
                self.push(Node::Global(format!("{module}.{name}")))?;
            }
            0x93 => {
                let names = self.pop_many(2)?; // STACK_GLOBAL
                let (module, name) = (self.graph.text(names[0]), self.graph.text(names[1]));
                let (module, name) = module.zip(name).context("a class without a name")?;
                ensure!(
                    module.len() + name.len() <= MAX_NAME,
                    "a class of too long a name"
                );
                let name = format!("{module}.{name}");
                self.push(Node::Global(name))?;
            }
            b'R' | 0x81 => {
                let call = self.pop_many(2)?; // REDUCE, NEWOBJ
                self.call(call[0], call[1])?;
            }
            0x92 => {
                let call = self.pop_many(3)?; // NEWOBJ_EX
                self.call(call[0], call[1])?;
            }
            b'b' => drop(self.pop()?), // BUILD sets attributes, which tensors do not need
            b'Q' => {
                let id = self.pop()?; // BINPERSID
                self.push(Node::Persistent(id))?;
            }
            b'h' => self.recall::<1>()?, // BINGET
            b'j' => self.recall::<4>()?, // LONG_BINGET
            b'q' => {
                let place = self.take_unsigned::<1>()?; // BINPUT
                self.remember(place)?;
            }
            b'r' => {
                let place = self.take_unsigned::<4>()?; // LONG_BINPUT
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len())?, // MEMOIZE
            other => bail!("opcode {other:#04x} is none that torch.save writes"),
        }
        ensure!(
            self.stack.len() + self.marks.len() < MAX_NODES,
            "too many values on the stack"
        );
        Ok(true)
    }

    /// What calling `function` with `arguments` would give, for the few functions that matter.
    fn call(&mut self, function: Id, arguments: Id) -> Result<()> {
        let name = match self.graph.get(function) {
            Node::Global(name) => name.as_str(),
            _ => "",
        };
        let arguments = match self.graph.get(arguments) {
            Node::Sequence(items) => items.as_slice(),
            _ => &[],
        };
        let node = match (name, arguments) {
            ("collections.OrderedDict", []) => Node::Dict(Vec::new()),
            ("collections.OrderedDict", &[items, ..]) => Node::Dict(self.entries(items)?),
            (
                "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2",
                &[storage, offset, shape, strides, ..],
            ) => Node::Tensor {
                storage,
                offset,
                shape,
                strides,
            },
            (
                "torch._utils._rebuild_parameter"
                | "torch._utils._rebuild_parameter_with_state"
                | "torch.Size",
                &[same, ..],
            ) => {
                self.stack.push(same);
                return Ok(());
            }
            _ => Node::Object(function),
        };
        self.push(node)
    }

    /// Entries of a dict given as a sequence of pairs: Python 2's OrderedDict.
    fn entries(&mut self, items: Id) -> Result<Vec<(Id, Id)>> {
        if let Node::Sequence(items) = self.graph.get(items) {
            self.graph.copied += items.len();
            self.graph.ensure_bounded()?;
        }
        let Node::Sequence(items) = self.graph.get(items) else {
            bail!("a dict made of something else than pairs")
        };
        let entry = |&item: &Id| match self.graph.get(item) {
            Node::Sequence(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => bail!("a dict made of something else than pairs"),
        };
        items.iter().map(entry).collect()
    }

    fn extend_sequence(&mut self, items: &[Id]) -> Result<()> {
        let id = self.top()?;
        if let Node::Sequence(sequence) = &mut self.graph.nodes[id] {
            sequence.extend(items);
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[Id]) -> Result<()> {
        let id = self.top()?;
        if let Node::Dict(entries) = &mut self.graph.nodes[id] {
            entries.extend(pairs(items)?);
        }
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<()> {
        let id = self.graph.add(node)?;
        self.stack.push(id);
        Ok(())
    }

    fn push_unsigned<const N: usize>(&mut self) -> Result<()> {
        let value = self.take_unsigned::<N>()?;
        self.push(Node::Int(i64::try_from(value)?))
    }

    fn push_long<const N: usize>(&mut self) -> Result<()> {
        let length = self.take_unsigned::<N>()?;
        let bytes = self.take(length)?;
        let node = match bytes.last() {
            Some(&last) if bytes.len() <= 8 => {
                let mut value = [if last < 0x80 { 0 } else { 0xff }; 8];
                value[..bytes.len()].copy_from_slice(bytes);
                Node::Int(i64::from_le_bytes(value))
            }
            Some(_) => Node::Long(bytes.to_vec()),
            None => Node::Int(0),
        };
        self.push(node)
    }

    fn push_text<const N: usize>(&mut self) -> Result<()> {
        let length = self.take_unsigned::<N>()?;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Node::Text(text))
    }

    fn recall<const N: usize>(&mut self) -> Result<()> {
        let place = self.take_unsigned::<N>()?;
        let id = self
            .memo
            .get(&place)
            .context("a value of the memo is missing")?;
        self.stack.push(*id);
        Ok(())
    }

    fn remember(&mut self, place: usize) -> Result<()> {
        let id = self.top()?;
        self.memo.insert(place, id);
        ensure!(self.memo.len() <= MAX_NODES, "too many values in the memo");
        Ok(())
    }

    fn top(&self) -> Result<Id> {
        ensure!(self.stack.len() > self.floor(), "the stack is empty");
        self.stack.last().copied().context("the stack is empty")
    }

    fn pop(&mut self) -> Result<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>> {
        let height = self.stack.len();
        ensure!(height >= self.floor() + count, "the stack is empty");
        Ok(self.stack.split_off(height - count))
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        let height = self.marks.pop().context("a mark is missing")?;
        Ok(self.stack.split_off(height))
    }

    /// Height of the stack below which an opcode may not reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).context("truncated")?;
        *self.bytes = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn take_unsigned<const N: usize>(&mut self) -> Result<usize> {
        let mut value = [0; 8];
        value[..N].copy_from_slice(self.take(N)?);
        Ok(usize::try_from(u64::from_le_bytes(value))?)
    }

    fn take_line(&mut self) -> Result<String> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n');
        let line = self.take(end.context("truncated")?)?;
        ensure!(line.len() <= MAX_NAME, "a class of too long a name");
        let line = String::from_utf8_lossy(line).into_owned();
        self.take(1)?;
        Ok(line)
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks();
    ensure!(rest.is_empty(), "a dict entry without a value");
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}
