//! Mutations of DER: of its octets, and of its elements with the lengths around
//! them made right again.

use std::iter::once;

/// xorshift64: the same numbers in every run.
pub struct Random(pub u64);

/// An element; where the content is one element or several, those.
pub enum Node {
    Leaf(u8, Vec<u8>),
    Branch(u8, Vec<Node>),
}

/// What is done to one element.
#[derive(Clone, Copy)]
enum Edit {
    Duplicate,
    Remove,
    LongLength,
    LongerLength,
    IndefiniteLength,
    Grow(u8),
    Lead(u8),
    Shrink,
    Empty,
    Wrap(u8),
}

impl Random {
    pub fn octet(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_be_bytes()[3]
    }
}

/// Every mutation of `der`.
pub fn mutations(der: &[u8], random: &mut Random) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for at in 0..der.len() {
        let octet = der[at];
        for other in [octet ^ 1, octet ^ 0x20, octet ^ 0x80, 0, 0xff, random.octet()] {
            let mut mutation = der.to_vec();
            mutation[at] = other;
            all.push(mutation);
        }
        all.push(der[..at].to_vec());
        all.push([&der[..at], &der[at + 1..]].concat());
        all.push([&der[..at], &[random.octet()], &der[at..]].concat());
    }
    for behind in [&[0][..], &[0, 0], &[random.octet()], der] {
        all.push([der, behind].concat());
    }
    let tree = Node::of(der).expect("the vectors are DER");
    for index in 0..tree.count() {
        let edits = [
            Edit::Duplicate,
            Edit::Remove,
            Edit::LongLength,
            Edit::LongerLength,
            Edit::IndefiniteLength,
            Edit::Grow(random.octet()),
            Edit::Lead(0),
            Edit::Lead(random.octet()),
            Edit::Shrink,
            Edit::Empty,
            Edit::Wrap(0x30),
            Edit::Wrap(0xa0),
            Edit::Wrap(0x04),
        ];
        all.extend(edits.map(|edit| {
            let mut output = Vec::new();
            tree.write(&mut output, &mut 0, index, edit);
            output
        }));
    }
    all
}

impl Node {
    /// The one element that `der` is, in DER.
    pub fn of(der: &[u8]) -> Option<Self> {
        let [node] = <[Self; 1]>::try_from(Self::all_of(der)?).ok()?;
        (node.der() == der).then_some(node)
    }

    pub fn der(&self) -> Vec<u8> {
        let mut output = Vec::new();
        self.write(&mut output, &mut 0, usize::MAX, Edit::Remove);
        output
    }

    pub fn tag(&self) -> u8 {
        let (Self::Leaf(tag, _) | Self::Branch(tag, _)) = self;
        *tag
    }

    pub fn children(&self) -> &[Self] {
        match self {
            Self::Leaf(..) => &[],
            Self::Branch(_, children) => children,
        }
    }

    pub fn child(&self, at: usize) -> Option<&Self> {
        self.children().get(at)
    }

    fn all_of(mut der: &[u8]) -> Option<Vec<Self>> {
        let mut nodes = Vec::new();
        while let [tag, rest @ ..] = der {
            if tag & 0x1f == 0x1f {
                return None; // A tag of several octets.
            }
            let (content, after) = match rest {
                [short @ ..=0x7f, rest @ ..] => rest.split_at_checked(usize::from(*short))?,
                [0x81, long, rest @ ..] => rest.split_at_checked(usize::from(*long))?,
                [0x82, high, low, rest @ ..] => {
                    rest.split_at_checked(usize::from(*high) << 8 | usize::from(*low))?
                }
                _ => return None,
            };
            // An extension's value is an element within an OCTET STRING. What is not
            // DER inside stays as it is.
            let may_hold = tag & 0x20 != 0 || *tag == 4;
            let children = may_hold.then(|| Self::all_of(content)).flatten();
            let children = children
                .filter(|children| children.iter().flat_map(Self::der).eq(content.iter().copied()));
            nodes.push(match children {
                Some(children) if !children.is_empty() => Self::Branch(*tag, children),
                _ => Self::Leaf(*tag, content.to_vec()),
            });
            der = after;
        }
        Some(nodes)
    }

    fn count(&self) -> usize {
        match self {
            Self::Leaf(..) => 1,
            Self::Branch(_, children) => 1 + children.iter().map(Self::count).sum::<usize>(),
        }
    }

    /// Writes the element, with `edit` done to the one that is number `index`.
    fn write(&self, output: &mut Vec<u8>, number: &mut usize, index: usize, edit: Edit) {
        let edit_here = (*number == index).then_some(edit);
        *number += 1;
        let (tag, mut content) = match self {
            Self::Leaf(tag, content) => (*tag, content.clone()),
            Self::Branch(tag, children) => {
                let mut content = Vec::new();
                for child in children {
                    child.write(&mut content, number, index, edit);
                }
                (*tag, content)
            }
        };
        match edit_here {
            Some(Edit::Grow(octet)) => content.push(octet),
            Some(Edit::Lead(octet)) => content.insert(0, octet),
            Some(Edit::Shrink) => drop(content.pop()),
            Some(Edit::Empty) => content.clear(),
            _ => {}
        }
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let plain: Vec<u8> = match length {
            [0, low @ ..=0x7f] => vec![low],
            [0, low] => vec![0x81, low],
            [high, low] => vec![0x82, high, low],
        };
        let length = match edit_here {
            Some(Edit::LongLength) => vec![0x82, length[0], length[1]],
            Some(Edit::LongerLength) => vec![0x84, 0, 0, length[0], length[1]],
            Some(Edit::IndefiniteLength) => vec![0x80],
            _ => plain,
        };
        let element: Vec<u8> = once(tag).chain(length).chain(content).collect();
        match edit_here {
            Some(Edit::Remove) => {}
            Some(Edit::Duplicate) => output.extend([&element[..], &element].concat()),
            Some(Edit::IndefiniteLength) => output.extend([&element[..], &[0, 0]].concat()),
            Some(Edit::Wrap(tag)) if element.len() < 128 => {
                output.extend([tag, u8::try_from(element.len()).unwrap()]);
                output.extend(element);
            }
            _ => output.extend(element),
        }
    }
}
