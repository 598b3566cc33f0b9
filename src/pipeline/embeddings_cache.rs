//! Embeddings of the last prompts: the text encoder gives the same for the same tokens each time, and
//! hosts ask for the same negative prompt in every run.

use std::collections::VecDeque;
use tch::Tensor;

/// How many prompts are kept unless the host says otherwise.
pub(super) const DEFAULT_ENTRIES: usize = 8;
/// The most that all of them take. A published model's prompt of 226 tokens takes 3.7 MB in
/// float32 and half of that in the others.
const MAX_BYTES: usize = 64 << 20;

/// The embeddings `(1, length, d_model)` of the prompts that were asked for last, shared by all
/// pipelines over the same weights. The oldest use goes first.
pub(super) struct EmbeddingsCache {
    /// The last use at the back.
    kept: VecDeque<Entry>,
    entries: usize,
    bytes: usize,
}

struct Entry {
    ids: Vec<i64>,
    embeddings: Tensor,
}

impl Entry {
    fn bytes(&self) -> usize {
        bytes(&self.embeddings) + size_of_val(self.ids.as_slice())
    }
}

fn bytes(tensor: &Tensor) -> usize {
    tensor.numel().saturating_mul(tensor.kind().elt_size_in_bytes())
}

impl EmbeddingsCache {
    /// Room for `entries` prompts, of [`MAX_BYTES`] in all.
    pub fn new(entries: usize) -> EmbeddingsCache {
        EmbeddingsCache { kept: VecDeque::new(), entries, bytes: MAX_BYTES }
    }

    /// What is kept for a prompt's token ids, which becomes the last use.
    pub fn get(&mut self, ids: &[i64]) -> Option<Tensor> {
        let at = self.position(ids)?;
        let entry = self.kept.remove(at)?;
        let embeddings = entry.embeddings.shallow_clone();
        self.kept.push_back(entry);
        Some(embeddings)
    }

    /// Keeps `embeddings`, unless they alone are too large, in place of the oldest ones.
    pub fn put(&mut self, ids: &[i64], embeddings: &Tensor) {
        if let Some(at) = self.position(ids) {
            self.kept.remove(at);
        }
        let embeddings = embeddings.shallow_clone();
        self.kept.push_back(Entry { ids: ids.to_vec(), embeddings });
        while self.kept.len() > self.entries || self.held() > self.bytes {
            self.kept.pop_front();
        }
    }

    pub fn clear(&mut self) {
        self.kept.clear();
    }

    fn position(&self, ids: &[i64]) -> Option<usize> {
        self.kept.iter().position(|entry| entry.ids == ids)
    }

    /// Bytes that are kept.
    pub fn held(&self) -> usize {
        self.kept.iter().map(Entry::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn tensor(count: i64) -> Tensor {
        Tensor::f_zeros([1, count, 1], (Kind::Float, Device::Cpu)).unwrap()
    }

    #[test]
    fn the_oldest_use_goes_first() {
        let mut cache = EmbeddingsCache::new(2);
        let (a, b) = (tensor(2), tensor(2));
        cache.put(&[1, 0], &a);
        cache.put(&[2, 0], &b);
        assert!(cache.get(&[1, 0, 0]).is_none());
        assert_eq!(cache.get(&[1, 0]).unwrap().data_ptr(), a.data_ptr());
        cache.put(&[3, 0], &tensor(2));
        assert!(cache.get(&[2, 0]).is_none(), "the first was used after it");
        assert!(cache.get(&[1, 0]).is_some() && cache.get(&[3, 0]).is_some());
        cache.clear();
        assert!(cache.get(&[1, 0]).is_none());
    }

    #[test]
    fn bytes_are_bounded_and_none_are_kept_where_there_is_no_room() {
        // Floats and ids of two prompts of 2 and 3 tokens.
        let bytes = (4 + 8) * (2 + 3);
        let mut cache = EmbeddingsCache { kept: VecDeque::new(), entries: 9, bytes };
        cache.put(&[1, 1], &tensor(2));
        cache.put(&[2, 2, 2], &tensor(3));
        assert!(cache.get(&[1, 1]).is_some() && cache.get(&[2, 2, 2]).is_some());
        cache.put(&[3, 3, 3, 3], &tensor(4));
        assert_eq!(cache.kept.len(), 1);
        cache.put(&[4; 9], &tensor(9));
        assert_eq!(cache.kept.len(), 0);
        let mut none = EmbeddingsCache::new(0);
        none.put(&[1], &tensor(1));
        assert!(none.get(&[1]).is_none());
    }
}
