//! What a guest of Tessera can see: numbers and layouts only, no logic.
//!
//! Guests are unmodified, so nearly everything they see is somebody else's interface (PSCI, SMCCC, VIRTIO, GIC,
//! PL011). This crate names what those interfaces leave to the platform: the vendor hypercall range and the places
//! of the devices in a guest's address space.
#![no_std]
#![forbid(unsafe_code)]

pub mod group;
pub mod hypercall;
pub mod layout;
