//! Device trees built of words that the readers look for: changed bytes of a good tree seldom make another good one.

use alloc::vec;
use alloc::vec::Vec;

use crate::fdt::{MAGIC, token};
use crate::fuzz::{Choices, Random};

/// Words that mean something in a tree.
pub struct Words {
    /// Names of nodes.
    pub nodes: &'static [&'static str],
    /// Names of properties, in one list or more.
    pub properties: &'static [&'static [&'static str]],
    /// Texts as values.
    pub texts: &'static [&'static str],
    /// Numbers in values.
    pub cells: &'static [u32],
}

impl Words {
    fn properties(&self) -> impl Iterator<Item = &'static str> {
        self.properties.iter().copied().flatten().copied()
    }
}

/// Bytes of a header of version 17 (DTSpec 5.2), and of the empty reservation block.
const HEADER: usize = 40;
const RESERVATIONS: usize = 16;

/// Deepest node that a program builds.
const DEEPEST: u32 = 6;

/// The input as a tree: where its first byte is odd as a program that builds one, else as the tree's own bytes.
pub fn tree(bytes: &[u8], words: &Words) -> Vec<u8> {
    match bytes.split_first() {
        Some((how, rest)) if how & 1 != 0 => build(&mut Choices::new(rest), words),
        Some((_, rest)) => rest.to_vec(),
        None => Vec::new(),
    }
}

/// Inputs for [`tree`] to begin with: one that is `tree`, and programs by chance.
pub fn inputs(tree: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![[&[0], tree].concat()];
    all.extend((1..4).map(|seed| [&[1], &Random(seed).bytes(300)[..]].concat()));
    all
}

fn build(choices: &mut Choices<'_>, words: &Words) -> Vec<u8> {
    let mut structure = Vec::new();
    // A node's properties come before its children (DTSpec 5.4.2).
    let (mut depth, mut has_children) = (1, false);
    let put = |structure: &mut Vec<u8>, token: u32| structure.extend(token.to_be_bytes());
    put(&mut structure, token::BEGIN_NODE);
    put(&mut structure, 0);
    while !choices.is_over() && structure.len() < 0x4000 {
        match choices.below(8) {
            0 | 1 if depth < DEEPEST => {
                put(&mut structure, token::BEGIN_NODE);
                text(&mut structure, choices.pick(words.nodes));
                (depth, has_children) = (depth + 1, false);
            }
            choice if depth > 1 && (choice == 2 || has_children) => {
                put(&mut structure, token::END_NODE);
                (depth, has_children) = (depth - 1, true);
            }
            _ if has_children => {}
            _ => {
                let name = choices.below(words.properties().count() as u64) as usize;
                let before: usize = words.properties().take(name).map(|name| name.len() + 1).sum();
                let value = value(choices, words);
                put(&mut structure, token::PROP);
                put(&mut structure, value.len() as u32);
                put(&mut structure, before as u32);
                structure.extend(value);
                pad(&mut structure);
            }
        }
    }
    (0..depth).for_each(|_| put(&mut structure, token::END_NODE));
    put(&mut structure, token::END);
    with_header(&structure, words)
}

fn with_header(structure: &[u8], words: &Words) -> Vec<u8> {
    let strings: Vec<u8> = words.properties().flat_map(|name| name.bytes().chain([0])).collect();
    let (first, len) = (HEADER + RESERVATIONS, structure.len());
    let total = first + len + strings.len();
    let header = [MAGIC as usize, total, first, first + len, HEADER, 17, 16, 0, strings.len(), len];
    let mut blob: Vec<u8> = header.iter().flat_map(|&word| (word as u32).to_be_bytes()).collect();
    blob.resize(first, 0);
    [&blob[..], structure, &strings].concat()
}

fn value(choices: &mut Choices<'_>, words: &Words) -> Vec<u8> {
    let mut value = Vec::new();
    match choices.below(8) {
        0 => {}
        1 | 2 => {
            for _ in 0..1 + choices.below(4) {
                value.extend(choices.word().to_be_bytes());
            }
        }
        3..=5 => {
            for _ in 0..1 + choices.below(8) {
                value.extend(choices.pick(words.cells).to_be_bytes());
            }
        }
        6 => {
            for _ in 0..2 {
                value.extend(choices.pick(words.texts).bytes().chain([0]));
            }
        }
        _ => value.extend(choices.pick(words.texts).bytes().chain([0])),
    }
    value
}

fn text(structure: &mut Vec<u8>, text: &str) {
    structure.extend(text.bytes().chain([0]));
    pad(structure);
}

fn pad(structure: &mut Vec<u8>) {
    structure.resize(structure.len().next_multiple_of(4), 0);
}
