//! System registers: what of the core is trapped ([`policy()`]), and what a trapped access gets ([`emulate()`]).
//!
//! As little as possible is trapped: a guest's debug registers, PMU, virtual timer, caches and translation tables are
//! the core's own. What remains is either Tessera's to answer (ID registers, SGIs, the physical timer) or does not
//! exist for a guest, and then its instruction is undefined, as on a core without that feature.

pub mod emulate;
pub mod features;
pub mod policy;

pub use emulate::{Outcome, TimerReg, emulate};
pub use features::{CpuFeatures, Feature};
pub use policy::{TrapRegs, policy};
