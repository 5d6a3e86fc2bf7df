//! Bytes on the heap with the alignment that shared memory promises.

use std::io;

const LINE: usize = 64;

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line(#[expect(dead_code, reason = "bytes are read through slices")] [u8; LINE]);

/// Bytes that are aligned to 64.
pub(super) struct AlignedBytes {
    lines: Box<[Line]>,
    length: usize,
}

impl AlignedBytes {
    /// Returns as many zeros.
    pub(super) fn zeroed(length: usize) -> io::Result<Self> {
        let count = length.div_ceil(LINE);
        let mut lines = Vec::new();
        lines
            .try_reserve_exact(count)
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        lines.resize(count, Line([0; LINE]));
        let lines = lines.into_boxed_slice();
        Ok(Self { lines, length })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: a line consists of bytes, and has the size of them.
        let (_, bytes, _) = unsafe { self.lines.align_to() };
        &bytes[..self.length]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and any bytes are a line.
        let (_, bytes, _) = unsafe { self.lines.align_to_mut() };
        &mut bytes[..self.length]
    }
}
