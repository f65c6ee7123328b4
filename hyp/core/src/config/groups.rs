//! Groups: which guests share a region of memory, and who of them may write to it.
//!
//! `members` and `reader` name guests by reference (`<&web &db>`), so the compiler finds a name that is misspelt, and leaves
//! numbers, phandles. A guest whose group is wrong is left out with it: it would not find what it was configured to have.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use tessera_abi::group::MAX_MEMBERS;
use tessera_abi::layout::MAX_GROUPS;

use super::problem::{Problem, Shown, short};
use super::reader::Reader;
use super::{MAX_GUESTS, MAX_NAME, MAX_PATH, is_plain, lifecycle, parse_bytes, parse_path};
use crate::fdt::Node;
use crate::stage2::Access;

/// Most groups of a board.
pub const MAX_BOARD_GROUPS: usize = 32;

/// A group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// Name of its node.
    pub name: String,
    /// Bytes of the region, a multiple of the page size.
    pub size: u64,
    /// Its members: the place of each is its index.
    pub members: Vec<MemberConfig>,
    /// The file with which the region begins.
    pub initial: Option<String>,
}

/// A member of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberConfig {
    /// The guest's name.
    pub guest: String,
    /// What it may do in the region.
    pub access: Access,
}

impl GroupConfig {
    /// Whether the guest of this name is a member.
    pub fn has(&self, guest: &str) -> bool {
        self.members.iter().any(|member| member.guest == guest)
    }
}

/// What a group's node may have.
pub(crate) const GROUP_PROPERTIES: [&str; 6] =
    ["compatible", "size", "members", "access", "reader", "initial"];

/// Whether the node is a group's.
pub(super) fn is_group(node: &Node<'_>) -> bool {
    node.is_compatible("tessera,group")
}

/// Reads one group, all of its problems, into `groups`. Members of one that is wrong are left out, with it.
pub(super) fn parse<'a>(
    reader: &mut Reader<'a, '_>,
    root: Node<'a>,
    node: Node<'a>,
    groups: &mut Vec<GroupConfig>,
) -> Vec<Problem> {
    let name = node.name();
    if groups.len() == MAX_BOARD_GROUPS {
        let what = format!("is one group too many; a board has at most {MAX_BOARD_GROUPS}");
        reader.problem(None, what);
    }
    reader.only(&GROUP_PROPERTIES);
    for below in node.children() {
        reader.below(below).problem(None, "is unknown; a group has no nodes below it".into());
    }
    if !is_plain(name) {
        let what = "cannot be a group's name; use up to";
        reader.problem(None, format!("{what} {MAX_NAME} letters, digits and `-_.+`"));
    } else if groups.iter().any(|group| group.name == name) {
        reader.problem(None, "is there twice; give each group its own name".into());
    }
    let size = reader.required_text("size", MAX_PATH, "size = \"16M\"");
    let size = size.and_then(|text| parse_bytes(reader, "size", text, "a small one takes 64K"));
    let known = [("read-write", Access::ReadWrite), ("read-only", Access::ReadOnly)];
    let access = lifecycle::one_of(reader, "access", &known).unwrap_or(Access::ReadWrite);
    let initial = parse_path(reader, "initial", false);
    let mut members = Vec::new();
    let cells = reader.cells("members", "members = <&web &db>");
    add(reader, root, "members", cells, access, &mut members);
    let cells = reader.optional_cells("reader", "reader = <&logger>");
    add(reader, root, "reader", cells, Access::ReadOnly, &mut members);
    check_full(reader, groups, &members);
    if reader.is_clean() {
        groups.push(GroupConfig {
            name: name.into(),
            size: size.unwrap_or(0),
            members,
            initial: initial.map(Into::into),
        });
        return Vec::new();
    }
    members.iter().map(|member| without_group(&member.guest, name)).collect()
}

/// Why a guest is left out whose group is.
pub(super) fn without_group(guest: &str, group: &str) -> Problem {
    let what = format!("is left out, for its group `{}` is; mend that", Shown(short(group)));
    Problem { node: format!("/{guest}"), property: None, what }
}

/// Adds the guests that `cells` refer to.
fn add<'a>(
    reader: &mut Reader<'a, '_>,
    root: Node<'a>,
    property: &'static str,
    cells: Option<impl Iterator<Item = u32>>,
    access: Access,
    members: &mut Vec<MemberConfig>,
) {
    // Of more, one is there twice.
    for phandle in cells.into_iter().flatten().take(MAX_MEMBERS + 1) {
        let is_it = |node: &Node<'_>| {
            node.property("phandle").and_then(|property| property.u32()) == Some(phandle)
        };
        let guest = root.children().take(MAX_GUESTS + MAX_BOARD_GROUPS).find(is_it);
        let Some(guest) = guest.filter(|node| node.is_compatible("tessera,vm")) else {
            let what =
                format!("<{phandle}> is no guest; give one a label and write for example <&web>");
            reader.problem(Some(property), what);
            continue;
        };
        if members.iter().any(|member| member.guest == guest.name()) {
            let what = format!("`{}` is a member twice; keep one", Shown(short(guest.name())));
            reader.problem(Some(property), what);
            continue;
        }
        members.push(MemberConfig { guest: guest.name().into(), access });
    }
}

/// Notes members that are in as many groups as a guest can be.
fn check_full(reader: &mut Reader<'_, '_>, groups: &[GroupConfig], members: &[MemberConfig]) {
    for member in members {
        let others = groups.iter().filter(|group| group.has(&member.guest)).count();
        if others == MAX_GROUPS {
            let name = Shown(&member.guest);
            let what =
                format!("`{name}` is in {others} groups already, and a guest can be in no more");
            reader.problem(Some("members"), what);
        }
    }
}
