//! A vector that grows without being copied.

/// Items in a chunk.
const CHUNK: usize = 1024;

pub(super) struct Chunks<T> {
    /// All are full but the last one or two.
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Chunks<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }

    pub(super) fn push(&mut self, item: T) {
        let chunk = self.len / CHUNK;
        if self.chunks.len() == chunk {
            // A small table stays small.
            self.chunks.push(Vec::with_capacity(if chunk == 0 { 0 } else { CHUNK }));
        }
        if let Some(chunk) = self.chunks.get_mut(chunk) {
            chunk.push(item);
            self.len += 1;
        }
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let last = self.len.checked_sub(1)?;
        let item = self.chunks.get_mut(last / CHUNK)?.pop();
        self.len = last;
        // An empty chunk is kept until half of the one before is empty too, or an item that comes and goes would
        // allocate each time.
        if last % CHUNK < CHUNK / 2 {
            self.chunks.truncate(last / CHUNK + 1);
        }
        item
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<T>()).sum();
        chunks + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}
