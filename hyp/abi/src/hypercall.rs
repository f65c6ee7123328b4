//! Calls of a guest's kernel to Tessera, by HVC with an immediate of its own: those other than 0 are for hypervisors to define
//! (Arm DEN 0028 2.9). They do what registers of a device do as well, in less time. Registers that no result is in keep their values.

/// Rings members of a group, as a store to [`crate::group::doorbell::RING`] does. x0: which of the guest's groups, as
/// `tessera,doorbell` says in its node; w1: whom. In x0 comes back [`DONE`], [`TOO_SOON`] or [`NO_GROUP`].
pub const RING: u16 = 0x7e5;
/// Takes who rang and whether the membership page has changed, as loads of [`crate::group::doorbell::PENDING`] and
/// [`crate::group::doorbell::CHANGED`] do. x0: which of the guest's groups. In x0 comes back who rang, a bit each by index, and in x1
/// 1 for a change, else 0; or [`NO_GROUP`] in x0.
pub const TAKE: u16 = 0x7e6;

/// It is done.
pub const DONE: u64 = 0;
/// Who would be rung was interrupted too often: nothing is done, and the call is to be made again.
pub const TOO_SOON: u64 = 1;
/// The guest has no such group, or there is no such call: NOT_SUPPORTED of the SMC Calling Convention (Arm DEN 0028 7.1).
pub const NO_GROUP: u64 = u64::MAX;
