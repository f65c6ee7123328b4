//! Addresses and identities as types, so that a guest's address cannot be used where a board's is meant.

use core::fmt;

/// Bytes of a page, and of a frame that holds it (4 KiB granule).
pub const PAGE_SIZE: u64 = 4096;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` further on, or `None` where the sum does not fit 64 bits.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// The address `bytes` further on, modulo 2^64: for sums already known to fit.
            pub const fn offset(self, bytes: u64) -> Self {
                Self(self.0.wrapping_add(bytes))
            }

            /// The address rounded down to a multiple of `align`, a power of two.
            pub const fn align_down(self, align: u64) -> Self {
                Self(self.0 & !align.wrapping_sub(1))
            }

            /// Whether the address is a multiple of `align`, a power of two.
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & align.wrapping_sub(1) == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address!(
    /// Physical address: what the board's bus sees.
    Pa
);
address!(
    /// Intermediate physical address: what a guest takes for physical.
    Ipa
);

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $raw:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(transparent)]
        pub struct $name(pub $raw);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

identity!(
    /// A guest, by its place in the configuration. Its VMID is one more (0 stays free for "no guest").
    VmId,
    u8
);
identity!(
    /// A physical core, by its place among the board's `/cpus` nodes.
    CpuId,
    u8
);
identity!(
    /// A virtual CPU, by its place in its guest.
    VcpuId,
    u8
);
identity!(
    /// An interrupt of the GIC: SGIs 0-15, PPIs 16-31, SPIs 32-1019 (IHI 0069 2.2).
    IntId,
    u32
);

/// A type for up to eight of a kind, a bit each.
macro_rules! set {
    ($(#[$doc:meta])* $name:ident, $member:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[must_use]
        pub struct $name(pub u8);

        impl $name {
            /// Nobody.
            pub const EMPTY: Self = Self(0);

            /// Only `member`.
            pub const fn only(member: $member) -> Self {
                Self(1u8.wrapping_shl(member.0 as u32))
            }

            /// Whether nobody is in the set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Whether `member` is in it.
            pub const fn contains(self, member: $member) -> bool {
                self.0 & Self::only(member).0 != 0
            }

            /// Both sets together.
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The set without `member`.
            pub const fn without(self, member: $member) -> Self {
                Self(self.0 & !Self::only(member).0)
            }

            /// The members, lowest first.
            pub fn iter(self) -> impl Iterator<Item = $member> {
                let mut rest = self.0;
                core::iter::from_fn(move || {
                    if rest == 0 {
                        return None;
                    }
                    let lowest = $member(rest.trailing_zeros() as u8);
                    rest &= rest.wrapping_sub(1);
                    Some(lowest)
                })
            }
        }
    };
}

set!(
    /// vCPUs of one guest: whom to make look at their interrupts.
    VcpuSet,
    VcpuId
);
set!(
    /// Cores of the board.
    CoreSet,
    CpuId
);
