//! The memory of a policy: small blocks are used again without asking the allocator behind.
//!
//! What a hook takes is small and soon given back: the texts that the host hands over, for whose memory it calls [`cabi_realloc`]. The
//! allocator of the standard library spends some two hundred instructions on each, among them merging the block with its neighbours, from
//! which the next hook cuts it again. Here a block that is given back goes onto a list of blocks of its size, and the next one of
//! that size is taken from there.
//!
//! For most texts the host need not even call it: it puts them into the *arena*, some kilobytes that it finds by the name of an exported
//! variable, and says in the arena's head that they are there. What lies in the arena is a block like any other for the policy; when the last
//! one has been given back, the arena is empty again.
//!
//! A policy that has an allocator of its own turns this one off: `patchbay-sdk = { …, default-features = false }`.
#![allow(
    unsafe_code,
    reason = "an allocator, and a function that the canonical ABI wants"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

/// The smallest block: a list needs room for a pointer in it, and less than this saves nothing.
const SMALLEST: usize = 16;
/// Blocks of 16 bytes to 2 KiB, each twice as large as the one before.
const CLASSES: usize = 8;
/// What every block can be divided by; more is asked of the allocator behind.
const ALIGN: usize = 8;
/// Blocks of one size that are kept, so that a policy that takes many at once gives most of them back: in sum at most 128 KiB.
const MAX_KEPT: u32 = 32;

/// Bytes of the arena: the texts of a usual hook, several times over.
const ARENA: usize = 4096;

/// The head of the arena. The host knows this layout, and checks what stands here as anything of a guest's.
#[repr(C)]
struct Head {
    /// Bytes in use, from the first one on.
    used: Cell<u32>,
    /// Blocks in use.
    live: Cell<u32>,
    size: u32,
    bytes: &'static Bytes,
}

/// Where the host puts what it hands over.
#[repr(C, align(8))]
struct Bytes(UnsafeCell<[MaybeUninit<u8>; ARENA]>);

// SAFETY: a policy has one thread: the host refuses shared memory.
unsafe impl Sync for Head {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

static BYTES: Bytes = Bytes(UnsafeCell::new([MaybeUninit::uninit(); ARENA]));

/// The head, by the name under which the host looks for it.
#[unsafe(export_name = "patchbay:arena")]
static LENT: Head = Head {
    used: Cell::new(0),
    live: Cell::new(0),
    size: ARENA as u32,
    bytes: &BYTES,
};

impl Head {
    #[inline]
    fn has(&self, pointer: *mut u8) -> bool {
        pointer.addr().wrapping_sub(BYTES.0.get().addr()) < ARENA
    }

    /// Takes back a block that the host put here.
    #[inline]
    fn give_back(&self) {
        let live = self.live.get().wrapping_sub(1);
        self.live.set(live);
        if live == 0 {
            self.used.set(0);
        }
    }
}

#[global_allocator]
static ALLOCATOR: Blocks = Blocks([const { List::new() }; CLASSES]);

/// Lists of blocks that nobody uses.
struct Blocks([List; CLASSES]);

/// Blocks of one size: in each stands which one is next.
struct List {
    first: Cell<Option<NonNull<Block>>>,
    count: Cell<u32>,
}

struct Block {
    next: Option<NonNull<Block>>,
}

// SAFETY: a policy has one thread: the host refuses shared memory.
unsafe impl Sync for Blocks {}

impl List {
    const fn new() -> List {
        List {
            first: Cell::new(None),
            count: Cell::new(0),
        }
    }

    #[inline]
    fn take(&self) -> Option<NonNull<Block>> {
        let block = self.first.get()?;
        // SAFETY: a block on the list belongs to the list, which wrote it.
        self.first.set(unsafe { block.as_ref() }.next);
        self.count.set(self.count.get() - 1);
        Some(block)
    }

    /// Puts a block onto the list; false when there are enough.
    ///
    /// # Safety
    /// The block is as large as those of this list, and nobody's.
    #[inline]
    unsafe fn put(&self, block: NonNull<Block>) -> bool {
        if self.count.get() >= MAX_KEPT {
            return false;
        }
        let next = self.first.get();
        // SAFETY: there is room for it by the caller's promise, and every block is aligned to 8 bytes.
        unsafe { block.write(Block { next }) };
        self.first.set(Some(block));
        self.count.set(self.count.get() + 1);
        true
    }
}

/// The number of the list for this layout; `None` for what is large or aligned in an unusual way.
#[inline]
fn class(layout: Layout) -> Option<usize> {
    // The number of bits that a block's last place takes, beyond those of the smallest block's.
    let last = layout.size().wrapping_sub(1) | (SMALLEST - 1);
    let class = (last.ilog2() - (SMALLEST - 1).ilog2()) as usize;
    (class < CLASSES && layout.align() <= ALIGN).then_some(class)
}

/// The layout of the blocks of a list.
#[inline]
fn block_of(class: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and the largest size is 2 KiB.
    unsafe { Layout::from_size_align_unchecked(SMALLEST << class, ALIGN) }
}

// SAFETY: memory comes from `System`. A block's layout there is that of its class, which is the same for the layouts that `alloc`
// and `dealloc` are called with; `put` hands a block to its list alone, and `take` hands it out once.
unsafe impl GlobalAlloc for Blocks {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((class, list)) = self.list(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        };
        match list.take() {
            Some(block) => block.as_ptr().cast(),
            // SAFETY: the size of a block is not 0.
            None => unsafe { System.alloc(block_of(class)) },
        }
    }

    // A part of the function that everything which frees memory calls: most of what is freed is the host's texts.
    #[inline(always)]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if LENT.has(pointer) {
            return LENT.give_back();
        }
        // SAFETY: the caller's promise.
        unsafe { self.free(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size is one of a layout of this alignment.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (class(layout), class(new)) {
            // A block of the arena has no room behind it.
            _ if LENT.has(pointer) => {
                // SAFETY: the caller's promise.
                unsafe { self.moved(pointer, layout, new) }
            }
            // SAFETY: the caller's promise.
            (None, None) => unsafe { System.realloc(pointer, layout, new_size) },
            (old, grown) if old == grown => pointer,
            // SAFETY: the caller's promise.
            _ => unsafe { self.moved(pointer, layout, new) },
        }
    }
}

impl Blocks {
    /// Takes back a block that does not lie in the arena.
    ///
    /// # Safety
    /// It was got with this layout, and is nobody's.
    #[inline(never)]
    unsafe fn free(&self, pointer: *mut u8, layout: Layout) {
        let Some((class, list)) = self.list(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { System.dealloc(pointer, layout) };
        };
        // SAFETY: the memory was got for this class, and is nobody's any more.
        let is_kept = NonNull::new(pointer.cast()).is_some_and(|block| unsafe { list.put(block) });
        if !is_kept {
            // SAFETY: the block was got with this layout.
            unsafe { System.dealloc(pointer, block_of(class)) };
        }
    }

    /// Another block with the content of this one, which is given back.
    ///
    /// # Safety
    /// The memory was got with this layout.
    unsafe fn moved(&self, pointer: *mut u8, layout: Layout, new: Layout) -> *mut u8 {
        // SAFETY: the caller's promise; both are as long as what is copied, and are not the same memory.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(pointer, moved, layout.size().min(new.size()));
                self.dealloc(pointer, layout);
            }
            moved
        }
    }

    #[inline]
    fn list(&self, layout: Layout) -> Option<(usize, &List)> {
        let class = class(layout)?;
        Some((class, self.0.get(class)?))
    }
}

/// The function by which the host gets memory for what it hands over (canonical ABI, `realloc`). `wit-bindgen` has one as well, which
/// gives way to this one.
///
/// # Safety
/// Called by the host only, as the canonical ABI says: with the size and alignment of a value, and with memory that was got here.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(
    old: *mut u8,
    old_size: usize,
    align: usize,
    new_size: usize,
) -> *mut u8 {
    // SAFETY: the host's promise. An alignment is at most 8, so that no size can overflow with it before the memory ends.
    let pointer = unsafe {
        match (old_size, new_size) {
            (0, 0) => return ptr::without_provenance_mut(align),
            (0, _) => ALLOCATOR.alloc(Layout::from_size_align_unchecked(new_size, align)),
            _ => {
                let layout = Layout::from_size_align_unchecked(old_size, align);
                ALLOCATOR.realloc(old, layout, new_size)
            }
        }
    };
    if pointer.is_null() {
        std::process::abort();
    }
    pointer
}
