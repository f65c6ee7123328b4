//! EL2's own memory: where the image is, how physical memory is reached, the heap.
//!
//! EL2 has one address space. The image is at [`IMAGE_VA`], where it was linked; all RAM that the board's device tree
//! tells, except the image, is at [`DIRECT_VA`] + its physical address; device pages are there too. So a physical
//! address becomes a virtual one by an addition, and no address of the image can be written through a second mapping.

use core::alloc::{GlobalAlloc, Layout};
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};

use buddy_system_allocator::Heap;
use tessera_core::addr::Pa;
use tessera_core::lock::Mutex;

use crate::cpu::MAX_CPUS;
use crate::hw::FRAMES;

/// The address of a symbol of the linker script. Those behind the heap are further away than the one instruction reaches that
/// the compiler has for an address (xtask builds the image so), hence two.
macro_rules! symbol {
    ($name:ident) => {{
        // SAFETY: a symbol of image.ld; only its address is taken.
        unsafe extern "C" {
            static $name: u8;
        }
        let at: u64;
        // SAFETY: computes an address from the PC and touches no memory.
        unsafe {
            core::arch::asm!(
                "adrp {at}, {name}",
                "add {at}, {at}, :lo12:{name}",
                at = lateout(reg) at,
                name = sym $name,
                options(pure, nomem, nostack, preserves_flags)
            )
        };
        at
    }};
}
pub(crate) use symbol;

/// Where the image is linked and mapped.
pub const IMAGE_VA: u64 = 0xff80_0000_0000;
/// Where the boot code mapped the device tree, read-only, from its 2 MiB boundary on.
pub const DTB_VA: u64 = 0xff80_4000_0000;
/// Where the stacks of the other cores are.
pub const STACKS_VA: u64 = 0xff80_8000_0000;
/// Where physical memory is.
pub const DIRECT_VA: u64 = 0x8000_0000_0000;

/// Bytes of EL2's heap in the image. Guests' fixed structures, the back-logs and the configuration live here.
pub const HEAP_SIZE: usize = 1024 * 1024;
/// Bytes of the heap that a guest takes at most, besides its vCPUs: its back-log, its devices, its configuration.
const HEAP_A_GUEST: usize = 64 * 1024;
/// Bytes of the heap that a vCPU takes at most.
const HEAP_A_VCPU: usize = 16 * 1024;
/// Bytes that the heap got of the board's RAM.
static HEAP_GREW: AtomicU64 = AtomicU64::new(0);

static IMAGE_PA: AtomicU64 = AtomicU64::new(0);

/// Remembers where the boot loader put the image.
pub fn set_image_pa(pa: u64) {
    IMAGE_PA.store(pa, Ordering::Relaxed);
}

/// The physical address of something in the image.
pub fn image_pa(va: u64) -> Pa {
    Pa(va.wrapping_sub(IMAGE_VA).wrapping_add(IMAGE_PA.load(Ordering::Relaxed)))
}

/// The image in physical memory: start and bytes.
pub fn image_range() -> (Pa, u64) {
    (Pa(IMAGE_PA.load(Ordering::Relaxed)), symbol!(__image_end) - IMAGE_VA)
}

/// Where physical address `pa` of RAM or a mapped device is in EL2's address space.
#[inline(always)]
pub fn direct(pa: Pa) -> u64 {
    DIRECT_VA.wrapping_add(pa.0)
}

/// Where a translation table at `pa` is: the boot code's are in the image, all others in the direct map.
pub fn table_va(pa: Pa) -> u64 {
    let (image, len) = image_range();
    match pa.0.checked_sub(image.0) {
        Some(offset) if offset < len => IMAGE_VA + offset,
        _ => direct(pa),
    }
}

#[repr(align(4096))]
struct HeapSpace(core::cell::UnsafeCell<core::mem::MaybeUninit<[u8; HEAP_SIZE]>>);

// SAFETY: only its address is shared; the allocator hands the bytes out, each to one owner.
unsafe impl Sync for HeapSpace {}

#[unsafe(link_section = ".noinit.heap")]
static HEAP_SPACE: HeapSpace =
    HeapSpace(core::cell::UnsafeCell::new(core::mem::MaybeUninit::uninit()));

struct Allocator(Mutex<Heap<20>>);

// SAFETY: what is handed out comes from the heap's own memory, to one owner until it gives it back.
unsafe impl GlobalAlloc for Allocator {
    // SAFETY: as the trait asks of the caller; the heap relies on nothing more.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().alloc(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    // SAFETY: as the trait asks of the caller.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if let Some(at) = NonNull::new(at) {
            // SAFETY: the caller had it from `alloc`, with this layout.
            unsafe { self.0.lock().dealloc(at, layout) };
        }
    }
}

#[global_allocator]
static HEAP: Allocator = Allocator(Mutex::new(Heap::new()));

/// Gives the heap its memory. Call once, before anything allocates.
pub fn init_heap() {
    // SAFETY: HEAP_SPACE is used by nothing else, is as long as said, and this runs once, on one core.
    unsafe { HEAP.0.lock().init(HEAP_SPACE.0.get() as usize, HEAP_SIZE) };
}

/// Makes the heap as large as a configuration of so many guests and vCPUs demands: what is in the image suffices for whom a
/// board with a core for each vCPU has. Call once, before there are guests. Whether there is memory for it.
pub fn grow_heap(guests: usize, vcpus: usize) -> bool {
    let wanted = guests * HEAP_A_GUEST + vcpus * HEAP_A_VCPU;
    if wanted <= HEAP_SIZE - HEAP_SIZE / 4 {
        return true;
    }
    let blocks = FRAMES.lock().as_mut().and_then(|frames| frames.take_bytes(wanted as u64));
    for block in blocks.iter().flatten() {
        let start = direct(block.at);
        // SAFETY: mapped RAM that was free until now, and is the heap's for good.
        unsafe { HEAP.0.lock().add_to_heap(start as usize, (start + block.bytes()) as usize) };
        HEAP_GREW.fetch_add(block.bytes(), Ordering::Relaxed);
    }
    blocks.is_some()
}

/// Bytes of the heap in use, and its size.
pub fn heap_usage() -> (usize, usize) {
    let heap = HEAP.0.lock();
    (heap.stats_alloc_actual(), heap.stats_total_bytes())
}

/// Whether `at` and the word behind it are in a stack of the hypervisor: a back-trace reads nothing else.
pub fn is_stack(at: u64) -> bool {
    let boot = symbol!(__boot_stack_start)..symbol!(__boot_stack_end) - 8;
    let panic = symbol!(__panic_stack_start)..symbol!(__panic_stack_end) - 8;
    let others = (0..MAX_CPUS as u64).map(|n| stack_of(n).start..stack_of(n).end - 8);
    boot.contains(&at) || panic.contains(&at) || others.into_iter().any(|stack| stack.contains(&at))
}

/// The stack that ends at `end`.
pub fn stack_that_ends_at(end: u64) -> Range<u64> {
    let boot = symbol!(__boot_stack_start)..symbol!(__boot_stack_end);
    if end == boot.end { boot } else { end.saturating_sub(STACK_SIZE)..end }
}

/// Bytes from one core's stacks to the next one's.
const STACKS_STRIDE: u64 = 0x1_0000;
/// Bytes of a core's stack.
pub const STACK_SIZE: u64 = 0x4000;
/// Bytes of the stack on which a core reports an exception of the hypervisor itself.
pub const PANIC_STACK_SIZE: u64 = 0x2000;

/// Where the stack of core `n` is. The pages around it stay unmapped.
pub const fn stack_of(n: u64) -> Range<u64> {
    let start = STACKS_VA + n * STACKS_STRIDE + 0x1000;
    start..start + STACK_SIZE
}

/// Where the panic stack of core `n` is.
pub const fn panic_stack_of(n: u64) -> Range<u64> {
    let start = stack_of(n).end + 0x1000;
    start..start + PANIC_STACK_SIZE
}

/// Bytes of the other cores' stacks.
pub fn stacks() -> u64 {
    (crate::cpu::online_count() as u64 - 1) * (STACK_SIZE + PANIC_STACK_SIZE)
}

/// Bytes that EL2 takes of the board's memory, besides the guests' stage 2 tables: the image, the heap, and the other cores'
/// stacks.
pub fn footprint() -> u64 {
    image_range().1 + HEAP_GREW.load(Ordering::Relaxed) + stacks()
}
