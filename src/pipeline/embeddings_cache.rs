//! Embeddings of the last prompts: the text encoder gives the same for the same text and length
//! each time, and hosts ask for the same negative prompt in every run.

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
    text: String,
    length: usize,
    embeddings: Tensor,
}

impl Entry {
    fn bytes(&self) -> usize {
        bytes(&self.embeddings) + self.text.len()
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

    /// What is kept for `text`, which becomes the last use.
    pub fn get(&mut self, text: &str, length: usize) -> Option<Tensor> {
        let at = self.position(text, length)?;
        let entry = self.kept.remove(at)?;
        let embeddings = entry.embeddings.shallow_clone();
        self.kept.push_back(entry);
        Some(embeddings)
    }

    /// Keeps `embeddings`, unless they alone are too large, in place of the oldest ones.
    pub fn put(&mut self, text: &str, length: usize, embeddings: &Tensor) {
        if let Some(at) = self.position(text, length) {
            self.kept.remove(at);
        }
        let embeddings = embeddings.shallow_clone();
        self.kept.push_back(Entry { text: text.into(), length, embeddings });
        while self.kept.len() > self.entries || self.held() > self.bytes {
            self.kept.pop_front();
        }
    }

    pub fn clear(&mut self) {
        self.kept.clear();
    }

    fn position(&self, text: &str, length: usize) -> Option<usize> {
        self.kept.iter().position(|entry| entry.length == length && entry.text == text)
    }

    fn held(&self) -> usize {
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
    fn the_oldest_use_goes_first_and_lengths_are_told_apart() {
        let mut cache = EmbeddingsCache::new(2);
        let (a, b) = (tensor(2), tensor(2));
        cache.put("a", 2, &a);
        cache.put("b", 2, &b);
        assert!(cache.get("a", 3).is_none());
        assert_eq!(cache.get("a", 2).unwrap().data_ptr(), a.data_ptr());
        cache.put("c", 2, &tensor(2));
        assert!(cache.get("b", 2).is_none(), "a was used after it");
        assert!(cache.get("a", 2).is_some() && cache.get("c", 2).is_some());
        cache.clear();
        assert!(cache.get("a", 2).is_none());
    }

    #[test]
    fn bytes_are_bounded_and_none_are_kept_where_there_is_no_room() {
        let mut cache = EmbeddingsCache { kept: VecDeque::new(), entries: 9, bytes: 4 * 5 + 2 };
        cache.put("a", 2, &tensor(2));
        cache.put("b", 3, &tensor(3));
        assert!(cache.get("a", 2).is_some() && cache.get("b", 3).is_some());
        cache.put("c", 4, &tensor(4));
        assert_eq!(cache.kept.len(), 1);
        cache.put("d", 9, &tensor(9));
        assert_eq!(cache.kept.len(), 0);
        let mut none = EmbeddingsCache::new(0);
        none.put("a", 2, &tensor(2));
        assert!(none.get("a", 2).is_none());
    }
}
