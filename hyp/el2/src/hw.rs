//! The board under the decisions: [`Hw`] on real hardware.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};

use tessera_core::addr::{CpuId, Ipa, PAGE_SIZE, Pa, VcpuId, VmId};
use tessera_core::deadlines::Slot;
use tessera_core::disk::{Accepted, DiskRequest, SubmitError};
use tessera_core::frames::Frames;
use tessera_core::hw::Hw;
use tessera_core::lock::Mutex;
use tessera_core::vm::Vm;

use crate::sysreg::mrs;
use crate::{
    barrier, cache, console, cpu, gic, guests, memory, monitor, power, shared, timer, tlb,
};

core::arch::global_asm!(include_str!("copy.S"));

// SAFETY: defined in copy.S with this signature.
unsafe extern "C" {
    fn copy_bytes(to: u64, from: u64, len: usize);
}

/// The board. There is one, so the type has no fields.
#[derive(Clone, Copy)]
pub struct El2;

/// Free frames of the board. Locked last of all locks (docs/architecture.md).
pub static FRAMES: Mutex<Option<Frames>> = Mutex::new(None);

/// Frames of the image for the tables that map RAM, before there is any other memory.
#[repr(align(4096))]
struct EarlyFrames(UnsafeCell<MaybeUninit<[[u8; PAGE_SIZE as usize]; EARLY_FRAMES]>>);

// SAFETY: only its address is used; each frame is handed out once.
unsafe impl Sync for EarlyFrames {}

/// Enough for RAM in several ranges with ragged ends, and a few devices.
const EARLY_FRAMES: usize = 16;

#[unsafe(link_section = ".noinit.early")]
static EARLY: EarlyFrames = EarlyFrames(UnsafeCell::new(MaybeUninit::uninit()));
static EARLY_TAKEN: AtomicUsize = AtomicUsize::new(0);

/// How many of the early frames are taken.
pub fn early_taken() -> u64 {
    EARLY_TAKEN.load(Ordering::Relaxed).min(EARLY_FRAMES) as u64
}

fn early_frame(order: u8) -> Option<Pa> {
    let n = EARLY_TAKEN.fetch_add(1, Ordering::Relaxed);
    let at = EARLY.0.get() as u64 + n as u64 * PAGE_SIZE;
    (order == 0 && n < EARLY_FRAMES).then(|| memory::image_pa(at))
}

/// A word of memory. By assembly, like all copies: the memory is no object of Rust's.
#[inline(always)]
fn load(at: Pa) -> u64 {
    let word;
    // SAFETY: callers pass RAM (the trait's contract), which the direct map has.
    unsafe {
        core::arch::asm!("ldr {}, [{}]", out(reg) word, in(reg) memory::direct(at), options(nostack, readonly));
    }
    word
}

#[inline(always)]
fn store(at: Pa, word: u64) {
    // SAFETY: callers pass RAM of a guest or a frame they took, to which no Rust reference exists.
    unsafe {
        core::arch::asm!("str {}, [{}]", in(reg) word, in(reg) memory::direct(at), options(nostack));
    }
}

/// As [`load`], of two words: a ring's descriptor.
#[inline(always)]
fn load_pair(at: Pa) -> [u64; 2] {
    let (low, high);
    // SAFETY: as for a word.
    unsafe {
        core::arch::asm!("ldp {}, {}, [{}]", out(reg) low, out(reg) high, in(reg) memory::direct(at), options(nostack, readonly));
    }
    [low, high]
}

#[inline(always)]
fn store_pair(at: Pa, [low, high]: [u64; 2]) {
    // SAFETY: as for a word.
    unsafe {
        core::arch::asm!("stp {}, {}, [{}]", in(reg) low, in(reg) high, in(reg) memory::direct(at), options(nostack));
    }
}

#[inline(always)]
fn store_byte(at: Pa, byte: u8) {
    // SAFETY: as for a word.
    unsafe {
        core::arch::asm!("strb {:w}, [{}]", in(reg) byte, in(reg) memory::direct(at), options(nostack));
    }
}

impl Hw for El2 {
    #[inline]
    fn now(&self) -> u64 {
        barrier::isb();
        mrs!("cntpct_el0")
    }

    #[inline]
    fn counter_hz(&self) -> u64 {
        mrs!("cntfrq_el0")
    }

    #[inline(always)]
    fn read(&self, at: Pa, into: &mut [u8]) {
        // Words and pairs of them are what rings are made of, and a call is longer than they are.
        if let Ok(word) = <&mut [u8; 8]>::try_from(&mut *into) {
            *word = load(at).to_ne_bytes();
            return;
        }
        if let Ok(pair) = <&mut [u8; 16]>::try_from(&mut *into) {
            let [low, high] = load_pair(at);
            *pair = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
            return;
        }
        // SAFETY: callers pass RAM (the trait's contract), which the direct map has; `into` is ours.
        unsafe { copy_bytes(into.as_mut_ptr() as u64, memory::direct(at), into.len()) };
    }

    #[inline(always)]
    fn write(&self, at: Pa, from: &[u8]) {
        match *from {
            [byte] => return store_byte(at, byte),
            [a, b, c, d, e, f, g, h] => {
                return store(at, u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
            }
            _ => {}
        }
        if let Ok(pair) = <[u8; 16]>::try_from(from) {
            let both = u128::from_le_bytes(pair);
            return store_pair(at, [both as u64, (both >> 64) as u64]);
        }
        // SAFETY: callers pass RAM of a guest or a frame they took, to which no Rust reference exists.
        unsafe { copy_bytes(memory::direct(at), from.as_ptr() as u64, from.len()) };
    }

    #[inline]
    fn load_u16_acquire(&self, at: Pa) -> u16 {
        // SAFETY: aligned RAM in the direct map, only ever accessed as an atomic or copied by assembly.
        unsafe { AtomicU16::from_ptr(memory::direct(at) as *mut u16) }.load(Ordering::Acquire)
    }

    #[inline]
    fn store_u16_release(&self, at: Pa, value: u16) {
        // SAFETY: as for the load.
        unsafe { AtomicU16::from_ptr(memory::direct(at) as *mut u16) }
            .store(value, Ordering::Release);
    }

    #[inline]
    fn fence(&self) {
        barrier::dmb_ish();
    }

    fn load_descriptor(&self, at: Pa) -> u64 {
        // SAFETY: an aligned entry of a table frame, only ever accessed as an atomic.
        unsafe { AtomicU64::from_ptr(memory::table_va(at) as *mut u64) }.load(Ordering::Relaxed)
    }

    fn store_descriptor(&self, at: Pa, value: u64) {
        // SAFETY: as for the load.
        unsafe { AtomicU64::from_ptr(memory::table_va(at) as *mut u64) }
            .store(value, Ordering::Relaxed);
        barrier::dsb_ishst();
    }

    fn dma_sync(&self, at: Pa, len: u64) {
        cache::clean_invalidate(memory::direct(at), len);
    }

    fn take_frames(&self, order: u8) -> Option<Pa> {
        let at = match FRAMES.lock().as_mut() {
            Some(frames) => frames.take(order)?,
            None => early_frame(order)?,
        };
        // SAFETY: the frames are mapped RAM and were free until now.
        unsafe { cache::zero_pages(memory::table_va(at), PAGE_SIZE << order) };
        Some(at)
    }

    fn give_frames(&self, at: Pa, order: u8) {
        let given = FRAMES.lock().as_mut().map(|frames| frames.give(at, order));
        // A frame that was never taken is a mistake of ours: keep it rather than hand it out twice.
        if let Some(Err(error)) = given {
            log::error!("frame {at} given back wrongly: {error}");
        }
    }

    fn tlb_invalidate_ipa(&self, vm: VmId, ipa: Ipa) {
        tlb::invalidate_ipa(vm, ipa);
    }

    fn tlb_invalidate_vm(&self, vm: VmId) {
        tlb::invalidate_vm(vm);
    }

    fn tlb_invalidate_el2(&self) {
        tlb::invalidate_el2_all();
    }

    fn set_deadline(&self, slot: Slot, at: Option<u64>) {
        timer::set(slot, at);
    }

    fn console_output(&self, vm: VmId, byte: u8) {
        console::with(|console| console.guest_output(vm, byte));
    }

    fn console_input(&self, vm: VmId) -> Option<u8> {
        console::with(|console| console.take_input(vm)).flatten()
    }

    fn disk_submit(&self, request: &DiskRequest) -> Result<Accepted, SubmitError> {
        guests::disk_submit(request)
    }

    fn serve_control(&self, vm: &Vm) -> bool {
        monitor::serve_store(vm)
    }

    fn firmware_call(&self, id: u32, x1: u64) {
        power::firmware_call(id, x1);
    }

    #[inline]
    fn this_cpu(&self) -> CpuId {
        cpu::current_id()
    }

    #[inline]
    fn kick(&self, cpu: CpuId) {
        gic::kick(cpu);
    }

    fn wake(&self, vm: VmId, vcpu: VcpuId) {
        shared::wake(vm, vcpu);
    }

    fn call(&self, vm: VmId, vcpu: VcpuId) {
        shared::call(vm, vcpu);
    }

    fn runs_here(&self, vm: VmId, vcpu: VcpuId) -> bool {
        shared::runs_here(vm, vcpu)
    }
}
